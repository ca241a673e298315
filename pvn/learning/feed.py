"""Batches for the devices. There are three ways, which give the same batches:

- The frames are in the host's memory. A thread gathers those of the next batches.
- The frames are in a buffer in the memory of each device. The thread draws the next batches, which
  hold the places of their frames, and the step gathers the frames.
- All data are in the memory of each device. The step draws its batch itself, and the host does
  nothing.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.buffer import Buffer, Write
from pvn.data.prefetch import Prefetch
from pvn.learning.draws import split_seed, uniform_indices
from pvn.learning.parallel import Parallel
from pvn.types import FrameBatch, ObservationSpec, Transition


def to_transition(observation: ObservationSpec, arrays: Any, batch: FrameBatch) -> Transition:
    """Joins the frames of a batch to s_tm1 and s_t, uint8 [B, H, W, C] each.

    Args:
      observation: what an observation is.
      arrays: `Feed.arrays`: the device's buffer of frames, uint8 [R, *frame], whose last row (place
        -1) is zeros; or () if the batch holds its frames.
      batch: of B transitions.
    """
    fields = batch._asdict()
    frames, places = fields.pop("frames"), fields.pop("places")
    if frames is None:
        frames = arrays[places]
    s_tm1, s_t = observation.join(frames[:, :-1]), observation.join(frames[:, 1:])
    return Transition(s_tm1=s_tm1, s_t=s_t, **fields)


class Resident(NamedTuple):
    """All data of a run, in the memory of a device."""

    frames: Any  # uint8 [R + 1, *frame], whose last row is zeros
    transitions: FrameBatch  # all M transitions as one batch, with the places of their frames
    responses: Any  # [R, ...], by place; None: not cached
    seed: Any  # of the draws, see `split_seed`


def draw(data: Resident, step: jax.Array, batch_size: int, axis_name: str | None) -> jax.Array:
    """The numbers of the transitions of a step's batch: int32 [b], on the device.

    Args:
      data: of the run.
      step: int32, from 0.
      batch_size: B, over all devices.
      axis_name: the axis over which batches are split: this device gets its rows; None: all rows.
    """
    number = uniform_indices(data.seed, step, batch_size, len(data.transitions.a_tm1))
    if axis_name is None:
        return number
    return number.reshape(jax.lax.axis_size(axis_name), -1)[jax.lax.axis_index(axis_name)]


def take(data: Resident, number: jax.Array) -> FrameBatch:
    """The batch of the transitions with these numbers, int32 [b]; with places."""
    batch = FrameBatch(*(None if x is None else x[number] for x in data.transitions))
    if data.responses is None:
        return batch
    assert batch.places is not None
    return batch._replace(response_tm1=data.responses[batch.places[:, -2]])  # at row i


def _write(frames: jax.Array, at: jax.Array, rows: jax.Array) -> jax.Array:
    return frames.at[at].set(rows, mode="drop", unique_indices=True)


class DeviceFrames:
    """The buffer's frames and a last one of zeros. Each device has a copy, updated in place."""

    def __init__(self, parallel: Parallel, num_rows: int, write_rows: int, frame: tuple[int, ...]):
        """
        Args:
          parallel: the devices.
          num_rows: frames of the buffer.
          write_rows: most frames of a `Write`.
          frame: shape of a frame.
        """
        self._parallel, self._num_rows, self._write_rows = parallel, num_rows, write_rows
        self._frame = frame
        self._write = parallel.compile(_write)
        make = parallel.compile(
            lambda _: jnp.zeros((num_rows + 1, *frame), jnp.uint8), donate=False
        )
        self.frames: Any = make(parallel.split(np.zeros(parallel.num_local)))

    def write(self, write: Write) -> None:
        """Writes rows into the buffer. Steps that are already queued still see the old rows."""
        # All writes have one shape, so this compiles once. The rows that fill up the shape have
        # places beyond the buffer's end, and are dropped.
        count, beyond = len(write.frames), self._num_rows + 1
        frames = np.zeros((self._write_rows, *self._frame), np.uint8)
        frames[:count] = write.frames
        at = np.arange(beyond, beyond + self._write_rows, dtype=np.int32)
        at[:count] = write.at + np.arange(count)
        where, what = self._parallel.replicate((at, frames))
        self.frames = self._write(self.frames, where, what)


class Feed:
    """The batches of steps `start` to `num_steps` of a run, split over the devices.

    Use as a context manager: call `fill`, then iterate. `arrays` is the first argument of
    `to_transition`; it may change with each batch. If the devices draw, it is a `Resident`, and
    each batch is `()`.
    """

    def __init__(
        self,
        buffer: Buffer,
        parallel: Parallel,
        *,
        start: int,
        num_steps: int,
        on_device: bool,
        device_draws: bool = False,
    ):
        """Prepares the feed; nothing is read yet.

        Args:
          buffer: of the same run and `start`; `on_host` unless `on_device`. If it makes the batches
            of U steps together, U divides the number of steps; the axis of the devices is before
            that of U.
          parallel: how batches are split.
          start: the first step, counted from 0.
          num_steps: of the whole run.
          on_device: keep the frames in device memory.
          device_draws: the devices draw. They must have the frames, the buffer must not move, the
            sampler have no shares, and there are no Monte Carlo returns.
        """
        assert not device_draws or (on_device and buffer.sampler.shares is None)
        self._buffer, self._parallel, self._start = buffer, parallel, start
        self._device: DeviceFrames | None = None
        if on_device:
            self._device = DeviceFrames(parallel, buffer.num_rows, buffer.write_rows, buffer.frame)
        self._device_draws = device_draws
        self._drawn: tuple[Any, ...] = ()  # the other fields of `Resident`
        self._prefetch = Prefetch(map(self._make, range(start, num_steps, buffer.together)))
        self._filled = False

    @property
    def num_rows(self) -> int:
        """Number of frames in the buffer."""
        return self._buffer.num_rows

    @property
    def arrays(self) -> Any:
        """The frames in device memory, or a `Resident`, or ()."""
        if self._device is None:
            return ()
        frames = self._device.frames
        return Resident(frames, *self._drawn) if self._drawn else frames

    @property
    def waited(self) -> float:
        """Seconds that the consumer has waited for batches."""
        return self._prefetch.waited

    def __enter__(self) -> "Feed":
        self._buffer.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._filled:
            self._prefetch.__exit__(*exception)
        self._buffer.__exit__(*exception)

    def fill(self) -> Iterator[int]:
        """Reads all frames that the first step may draw; yields the number of frames just read.

        Raises:
          UserError: a file of the dataset is corrupt or missing; the message names it.
        """
        for write in self._buffer.writes(self._start):
            if self._device:
                self._device.write(write)
            yield len(write.frames)

    def _make(self, step: int) -> tuple[list[Write], Any]:
        if self._device_draws:
            return [], ()
        axis = 1 if self._buffer.together > 1 else 0
        if self._device is None:
            return [], self._parallel.split(self._buffer.batch(step), axis=axis)
        writes = list(self._buffer.writes(step))
        return writes, self._parallel.split(self._buffer.places(step), axis=axis)

    def __iter__(self) -> Iterator[Any]:
        if self._device_draws:
            seed = split_seed(self._buffer.sampler.seed)
            self._drawn = self._parallel.replicate((*self._buffer.everything(), seed))
        self._filled = True
        for writes, batch in self._prefetch.__enter__():
            for write in writes:
                assert self._device
                self._device.write(write)
            yield batch
