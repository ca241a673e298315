"""Batches from the transitions that are in memory.

Where all the data fit in memory a batch is simply

    transitions.batch(transitions.start[uniform_indices(seed, step, batch_size, num_transitions)])

and that is what a test holds this file against. Where they do not, `Schedule` says which blocks are
buffered at a step, and a thread reads those that come next:

    transition number   (drawn)      which of the buffered blocks' transitions
      -> row of the dataset          transitions.start[number]
      -> place in the buffer         slot of its block * rows of a slot + row within the block

Frames live in the buffer's slots on the host (`Buffer.batch`), or on a device, which is then given
what to write where (`Buffer.writes`) and where the frames of a batch are (`Buffer.places`). One row
more stands at the end of the buffer, of zeros: the place -1, for frames outside an episode.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pvn.data.prefetch import Prefetch
from pvn.data.sampler import mixture_indices, uniform_indices
from pvn.data.schedule import AHEAD, Schedule, block_rows
from pvn.data.store import FRAME_SHAPE
from pvn.data.transitions import STACK, Transitions
from pvn.types import FrameBatch

READ_ROWS = 2048  # rows read at once, at most
KEPT = 8  # batches whose memory is not used again: fresh memory costs more than the copy into it

ReadResponses = Callable[[int, int], np.ndarray]  # (first row, one past the last) -> [rows, T]


class Write(NamedTuple):
    """Rows to put into the buffer."""

    at: int  # place of the first
    frames: np.ndarray  # uint8 [rows, 84, 84]
    responses: np.ndarray | None  # [rows, T]


class Buffer:
    """The buffered transitions from a step on. One thread asks for the steps, in order.

    A context manager: a thread of its own reads ahead until it is left.
    """

    def __init__(
        self,
        transitions: Transitions,
        schedule: Schedule,
        *,
        seed: int,
        batch_size: int,
        start: int,
        shares: np.ndarray | None = None,
        responses: ReadResponses | None = None,
        returns: np.ndarray | None = None,
        on_host: bool = True,
    ):
        """
        Args:
          transitions: of K datasets, frames on disk or in memory.
          schedule: of these transitions.
          seed: of the draws.
          batch_size: B, of all devices together.
          start: the first step that will be asked for.
          shares: float64 [K], of each dataset in the draws; None: all transitions alike.
          responses: reads cached responses; None: batches hold none.
          returns: [N, T] of all rows, where batches are to hold Monte Carlo returns.
          on_host: keep the frames here; else `writes` hands them out and `batch` has none.
        """
        self._transitions, self._schedule = transitions, schedule
        self._seed, self._batch_size, self._shares = seed, batch_size, shares
        self._read_responses, self._returns = responses, returns
        self._first, stop = block_rows(transitions.start, schedule.edges)
        self._stop = np.minimum(stop, transitions.num_rows)
        counts = self._stop - self._first  # [K, n]
        self._offset = np.cumsum(counts, axis=0) - counts  # of each dataset's rows within a slot
        self._slot_rows = int(counts.sum(axis=0).max())
        self.num_rows = schedule.num_buffered * self._slot_rows  # frames that the buffer holds
        self.write_rows = min(READ_ROWS, int(counts.max()))  # rows of a `Write`, at most
        self._sizes = np.diff(schedule.edges)  # [K, n]
        self._next = schedule.position(start, batch_size)  # the place that is read next
        self._reader = Prefetch(self._read_from(self._next), depth=AHEAD * len(counts))
        self._read = iter(self._reader)
        self._frames: np.ndarray | None = None
        if on_host:
            self._frames = np.empty((self.num_rows + 1, *FRAME_SHAPE), np.uint8)
            self._frames[-1] = 0
            batches = np.empty((KEPT, batch_size, STACK + 1, *FRAME_SHAPE), np.uint8)
            self._batches = itertools.cycle(batches)
        self._responses: np.ndarray | None = None

    def __enter__(self) -> "Buffer":
        self._reader.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.__exit__(*exception)

    def _read_from(self, place: int) -> Iterator[Write]:
        """The blocks at all places from `place` on; endless if the schedule moves."""
        schedule = self._schedule
        for q in itertools.count(place):
            if not schedule.moves and q > 0:
                return
            block, slot = schedule.order[q % schedule.num_blocks], q % schedule.num_buffered
            for k in range(len(self._sizes)):
                first, last = int(self._first[k, block]), int(self._stop[k, block])
                at = slot * self._slot_rows + int(self._offset[k, block])
                for row in range(first, last, READ_ROWS):
                    span = (row, min(row + READ_ROWS, last))
                    responses = self._read_responses(*span) if self._read_responses else None
                    frames = self._transitions.rows.frame[slice(*span)]
                    yield Write(at + row - first, frames, responses)

    def writes(self, step: int) -> Iterator[Write]:
        """What is to be put into the buffer before the batch of `step` is taken from it."""
        stop = self._schedule.position(step, self._batch_size) + self._schedule.num_buffered
        while self._next < stop:
            block = self._schedule.order[self._next % self._schedule.num_blocks]
            rows = int(np.sum(self._stop[:, block] - self._first[:, block]))
            while rows:
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
        """The global batch of `step`: the row of each transition, and its place; int64 [B] each."""
        schedule = self._schedule
        position = schedule.position(step, self._batch_size)
        blocks = schedule.buffered(position)
        sizes = self._sizes[:, blocks]  # [K, W]
        draw = (self._seed, step, self._batch_size)
        if self._shares is None:
            drawn = uniform_indices(*draw, int(sizes.sum()))
        else:
            drawn = mixture_indices(*draw, sizes.sum(axis=1), self._shares)
        ends = np.cumsum(sizes)
        part = np.searchsorted(ends, drawn, side="right")  # which of the K W parts
        k, w = np.divmod(part, len(blocks))
        block = blocks[w]
        number = schedule.edges[k, block] + drawn - (ends - sizes.ravel())[part]
        row = self._transitions.start[number]
        slot = (position + w) % schedule.num_buffered
        return row, slot * self._slot_rows + self._offset[k, block] + row - self._first[k, block]

    def places(self, step: int) -> FrameBatch:
        """The global batch of `step` with the places of its frames, int32 [B, 5].

        All `writes` of the step must be done.
        """
        row, at = self._draw(step)
        frame_rows = self._transitions.frame_rows(row)
        places = np.where(frame_rows < 0, -1, frame_rows + (at - row)[:, None])
        return self._transitions.without_frames(
            row,
            None if self._responses is None else self._responses[at],
            None if self._returns is None else self._returns[row],
        )._replace(places=places.astype(np.int32))

    def batch(self, step: int) -> FrameBatch:
        """The global batch of `step` with its frames, uint8 [B, 5, 84, 84], from the host's buffer.

        Their memory is used again `KEPT` batches later.
        """
        assert self._frames is not None
        for _ in self.writes(step):
            pass
        batch, frames = self.places(step), next(self._batches)
        # "wrap" finds the row of zeros at -1; "raise" would copy twice.
        self._frames.take(np.asarray(batch.places), axis=0, out=frames, mode="wrap")
        return batch._replace(frames=frames, places=None)
