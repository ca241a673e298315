"""Batches on their way to the devices, made ahead in a thread.

Frames live in the host's memory, or in a buffer in the memory of each device: a batch then says
where its frames are, and they are gathered inside the step. Both give the same batches.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.buffer import Buffer, Write
from pvn.data.prefetch import Prefetch
from pvn.data.store import FRAME_SHAPE
from pvn.learning.parallel import Parallel
from pvn.types import FrameBatch, Transition


def to_transition(arrays: Any, batch: FrameBatch) -> Transition:
    """A batch as the step sees it: its frames stacked to s_tm1 and s_t, [B, 84, 84, 4] each.

    arrays: of the feed; the device's buffer of frames, uint8 [R, 84, 84] (the last is zeros, so
      that place -1 is one of zeros), or () where batches hold their frames.
    """
    fields = batch._asdict()
    frames, places = fields.pop("frames"), fields.pop("places")
    if frames is None:
        frames = arrays[places]
    frames = jnp.moveaxis(frames, 1, -1)
    return Transition(s_tm1=frames[..., :-1], s_t=frames[..., 1:], **fields)


def _write(frames: jax.Array, at: jax.Array, rows: jax.Array) -> jax.Array:
    return frames.at[at].set(rows, mode="drop", unique_indices=True)


class DeviceFrames:
    """The buffer's frames and a last one of zeros, a copy on each device; updated in place."""

    def __init__(self, parallel: Parallel, num_rows: int, write_rows: int):
        """num_rows: frames of the buffer. write_rows: those of a `Write`, at most."""
        self._parallel, self._num_rows, self._write_rows = parallel, num_rows, write_rows
        self._write = parallel.compile(_write, donate=True)
        make = parallel.compile(
            lambda _: jnp.zeros((num_rows + 1, *FRAME_SHAPE), jnp.uint8), donate=False
        )
        self.frames: Any = make(parallel.split(np.zeros(parallel.num_devices)))

    def write(self, write: Write) -> None:
        """Puts rows where they belong; steps that were queued before still see the old ones."""
        # One shape, one compilation: the rest of the rows falls off the buffer's end.
        count, beyond = len(write.frames), self._num_rows + 1
        frames = np.zeros((self._write_rows, *FRAME_SHAPE), np.uint8)
        frames[:count] = write.frames
        at = np.arange(beyond, beyond + self._write_rows, dtype=np.int32)
        at[:count] = write.at + np.arange(count)
        where, what = self._parallel.replicate((at, frames))
        self.frames = self._write(self.frames, where, what)


class Feed:
    """The batches of steps `start` to `num_steps` of a run, split over the devices.

    Use as a context manager, `fill` it, then iterate. `arrays` is what `to_transition` takes
    besides a batch, and may be another at each batch.
    """

    def __init__(
        self, buffer: Buffer, parallel: Parallel, *, start: int, num_steps: int, on_device: bool
    ):
        """on_device: frames live in device memory; `buffer` then has none on the host."""
        self._buffer, self._parallel, self._start = buffer, parallel, start
        self._device: DeviceFrames | None = None
        if on_device:
            self._device = DeviceFrames(parallel, buffer.num_rows, buffer.write_rows)
        self._prefetch = Prefetch(map(self._make, range(start, num_steps)))
        self._filled = False

    @property
    def num_rows(self) -> int:
        """Frames that the buffer holds."""
        return self._buffer.num_rows

    @property
    def arrays(self) -> Any:
        """The frames in device memory, or ()."""
        return self._device.frames if self._device else ()

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
        """Reads all that the first step may draw; yields the number of frames just read."""
        for write in self._buffer.writes(self._start):
            if self._device:
                self._device.write(write)
            yield len(write.frames)

    def _make(self, step: int) -> tuple[list[Write], FrameBatch]:
        if self._device:
            return list(self._buffer.writes(step)), self._parallel.split(self._buffer.places(step))
        return [], self._parallel.split(self._buffer.batch(step))

    def __iter__(self) -> Iterator[FrameBatch]:
        self._filled = True
        for writes, batch in self._prefetch.__enter__():
            for write in writes:
                assert self._device
                self._device.write(write)
            yield batch
