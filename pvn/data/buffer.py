"""Draws batches from the buffer, the part of the data that is in memory.

If all the data fit in memory, a batch is simply

    transitions.batch(transitions.start[uniform_indices(seed, step, batch_size, num_transitions)])

and a test compares this file with that line. If they do not fit, `Schedule` says which blocks are
buffered at a step, and a thread reads the next blocks in advance. Each draw is mapped in two steps:

    number of a transition           drawn from the buffered blocks of the row's lane
      -> row of the dataset          transitions.start[number]
      -> row of the buffer (place)   slot of its block * rows of a slot + row within the block

One of several processes gathers some rows of each batch, and buffers the lanes of these rows only.

The frames of the buffer are on the host or on a device. On the host, `Buffer.batch` gathers them.
For a device, `Buffer.writes` yields the rows to write, and `Buffer.places` gives the buffer rows of
a batch's frames. A device that draws has `Buffer.everything` instead. The buffer ends with one more
row, of zeros. It is place -1, and stands for all frames outside an episode.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pvn.data.prefetch import Prefetch
from pvn.data.sampler import Sampler, lane_of
from pvn.data.schedule import AHEAD, Schedule, block_rows
from pvn.data.transitions import Transitions
from pvn.types import Array, FrameBatch

READ_ROWS = 2048  # most rows of one read
KEPT = 8  # batches with memory of their own; allocating memory takes longer than copying into it


class Write(NamedTuple):
    """Consecutive rows to write into the buffer."""

    at: int  # place of the first row
    frames: np.ndarray  # uint8 [rows, *frame]
    responses: np.ndarray | None  # [rows, ...]


class Buffer:
    """The buffered transitions of a run, from step `start` on.

    Only one thread may call its methods, with steps in ascending order. Use as a context manager:
    inside it, a thread reads ahead.
    """

    def __init__(
        self,
        transitions: Transitions,
        schedule: Schedule,
        sampler: Sampler,
        *,
        start: int,
        rows: slice | None = None,
        responses: Array | None = None,
        returns: np.ndarray | None = None,
        on_host: bool = True,
        together: int = 1,
    ):
        """
        Args:
          transitions: of K datasets, frames on disk or in memory.
          schedule: of these transitions.
          sampler: draws the batches.
          start: the first step, counted from 0.
          rows: the rows of each global batch to gather; None: all.
          responses: [N, ...], to all rows, in memory or on disk; None: batches hold none.
          returns: float32 [N, T], Monte Carlo returns of all rows; None: batches hold none.
          on_host: keep the frames here, for `batch`. Otherwise only `writes` yields them.
          together: steps whose batches are made as one. Not 1: arrays have one more axis, in front.
            Without `on_host` the buffer must not move then.
        """
        self._transitions, self._schedule, self.sampler = transitions, schedule, sampler
        self._all_responses, self._returns = responses, returns
        self._first, stop = block_rows(
            transitions.start, schedule.edges, transitions.observation.stack
        )
        self._stop = np.minimum(stop, transitions.num_rows)
        counts = self._stop - self._first  # [K, n]
        self._offset = np.cumsum(counts, axis=0) - counts  # first row of each dataset within a slot
        self._slot_rows = int(counts.sum(axis=0).max())
        num_lanes = schedule.num_lanes
        self._rows = np.arange(sampler.batch_size)[rows or slice(None)]
        lanes = lane_of(self._rows[[0, -1]], sampler.batch_size, num_lanes)
        self._lanes = range(int(lanes[0]), int(lanes[1]) + 1)  # those of these rows
        num_slots = schedule.num_buffered // num_lanes * len(self._lanes)
        self.num_rows = num_slots * self._slot_rows  # without the row of zeros
        self.write_rows = min(READ_ROWS, int(counts.max()))  # most rows of a `Write`
        self._sizes = np.diff(schedule.edges)  # [K, n]
        self._next = schedule.position(start, sampler.batch_size)  # position that is read next
        self._reader = Prefetch(self._read_from(self._next), depth=AHEAD * len(counts))
        self._read = iter(self._reader)
        self._frames: np.ndarray | None = None
        if on_host:
            shape, stack = self.frame, transitions.observation.stack
            self._frames = np.empty((self.num_rows + 1, *shape), np.uint8)
            self._frames[-1] = 0
            batches = np.empty((KEPT, together, len(self._rows), stack + 1, *shape), np.uint8)
            self._batches = itertools.cycle(batches)
        self.together = together
        self._responses: np.ndarray | None = None

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self._transitions.observation.frame

    def __enter__(self) -> "Buffer":
        self._reader.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.__exit__(*exception)

    def _read_from(self, position: int) -> Iterator[Write]:
        """Reads the blocks at all positions from `position` on; endless if the schedule moves."""
        schedule = self._schedule
        for q in itertools.count(position):
            if not schedule.moves and q > 0:
                return
            slot = self._slot(np.array(q))
            if slot < 0:
                continue
            block = schedule.order[q % schedule.num_blocks]
            for k in range(len(self._sizes)):
                first, last = int(self._first[k, block]), int(self._stop[k, block])
                at = int(slot) * self._slot_rows + int(self._offset[k, block])
                for row in range(first, last, READ_ROWS):
                    span = slice(row, min(row + READ_ROWS, last))
                    responses = None if self._all_responses is None else self._all_responses[span]
                    frames = self._transitions.rows.frame[span]
                    yield Write(at + row - first, frames, responses)

    def _slot(self, position: np.ndarray) -> np.ndarray:
        """The slot here, int64 [...], of the blocks at positions; -1 if another process has it."""
        row, lane = np.divmod(position % self._schedule.num_buffered, self._schedule.num_lanes)
        here = (lane >= self._lanes.start) & (lane < self._lanes.stop)
        return np.where(here, row * len(self._lanes) + lane - self._lanes.start, -1)

    def writes(self, step: int) -> Iterator[Write]:
        """Yields the rows to write into the buffer before the batch of `step` is gathered.

        Raises:
          UserError: a file of the dataset is corrupt or missing; the message names it.
        """
        stop = self._schedule.position(step, self.sampler.batch_size) + self._schedule.num_buffered
        while self._next < stop:
            block = self._schedule.order[self._next % self._schedule.num_blocks]
            rows = int(np.sum(self._stop[:, block] - self._first[:, block]))
            while rows and self._slot(np.array(self._next)) >= 0:
                write = next(self._read)
                rows -= len(write.frames)
                self._keep(write)
                yield write
            self._next += 1

    def _keep(self, write: Write) -> None:
        span = slice(write.at, write.at + len(write.frames))
        if self._frames is not None:
            self._frames[span] = write.frames
        if write.responses is not None:
            if self._responses is None:
                width = write.responses.shape[1]
                self._responses = np.empty((self.num_rows, width), write.responses.dtype)
            self._responses[span] = write.responses

    def _draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the batch of `step`: dataset row and place of each transition, int64 [b]."""
        schedule, num_lanes = self._schedule, self._schedule.num_lanes
        position = schedule.position(step, self.sampler.batch_size)
        # The positions of each lane's blocks, int64 [L, W / L].
        positions = position + np.arange(schedule.num_buffered).reshape(-1, num_lanes).T
        positions = np.roll(positions, position % num_lanes, axis=0)
        blocks = schedule.order[positions % schedule.num_blocks]
        sizes = self._sizes[:, blocks].transpose(1, 0, 2)  # [L, K, W / L]
        drawn = self.sampler.draw(step, sizes.sum(axis=2))[self._rows]
        lane = lane_of(self._rows, self.sampler.batch_size, num_lanes)
        ends = np.cumsum(sizes)  # of the L * K * W / L parts, laid end to end
        first = ends - sizes.ravel()
        drawn = drawn + first[lane * sizes[0].size]
        part = np.searchsorted(ends, drawn, side="right")
        _, k, w = np.unravel_index(part, sizes.shape)
        block = blocks[lane, w]
        row = self._transitions.start[schedule.edges[k, block] + drawn - first[part]]
        at = self._slot(positions[lane, w]) * self._slot_rows + self._offset[k, block]
        return row, at + row - self._first[k, block]

    def places(self, step: int) -> FrameBatch:
        """The rows of the batch of `step` with the places of their frames, int32 [b, S + 1].

        Of the U steps from `step` on, [U, b, S + 1], if they are together. Call it after all
        `writes` of `step`.
        """
        return _stacked([self._places(step + more) for more in range(self.together)])

    def batch(self, step: int) -> FrameBatch:
        """The rows of the batch of `step` with their frames, uint8 [b, S + 1, *frame].

        Of the U steps from `step` on, [U, b, S + 1, *frame], if they are together. Needs `on_host`.
        The frames of `KEPT` calls later overwrite these.

        Raises:
          UserError: as `writes`.
        """
        assert self._frames is not None
        memory, batches = next(self._batches), []
        for more, out in enumerate(memory):
            for _ in self.writes(step + more):
                pass
            batch = self._places(step + more)
            # "wrap" maps -1 to the last row, the zeros; "raise" would copy twice.
            self._frames.take(np.asarray(batch.places), axis=0, out=out, mode="wrap")
            batches.append(batch)
        frames = memory if self.together > 1 else memory[0]
        return _stacked(batches)._replace(frames=frames, places=None)

    def everything(self) -> tuple[FrameBatch, np.ndarray | None]:
        """All M transitions as one batch, with places; and the responses [R, ...] by place.

        For devices that draw, and have the frames. So the batch has no responses: that of a
        transition is at the place of its row. The schedule must not move: one block has all the
        data. Call it after all `writes`.
        """
        assert not self._schedule.moves
        row, groups = self._transitions.start, self._transitions.groups
        shift = self._offset[:, 0] - self._first[:, 0]  # of the rows of each dataset
        places = self._frame_places(row, row + np.repeat(shift, np.diff(groups)))
        return self._transitions.without_frames(row)._replace(places=places), self._responses

    def _places(self, step: int) -> FrameBatch:
        row, at = self._draw(step)
        return self._transitions.without_frames(
            row,
            None if self._responses is None else self._responses[at],
            None if self._returns is None else self._returns[row],
        )._replace(places=self._frame_places(row, at))

    def _frame_places(self, row: np.ndarray, at: np.ndarray) -> np.ndarray:
        """int32 [b, S + 1], of transitions at rows of the dataset and places of the buffer."""
        frame_rows = self._transitions.frame_rows(row)
        places = np.where(frame_rows < 0, -1, frame_rows + (at - row)[:, None])
        return places.astype(np.int32)


def _stacked(batches: list[FrameBatch]) -> FrameBatch:
    """The batches of U steps as one, [U, b, ...]; a single batch as it is."""
    if len(batches) == 1:
        return batches[0]
    return FrameBatch(*(None if x[0] is None else np.stack(x) for x in zip(*batches, strict=True)))
