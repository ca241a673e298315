"""The transitions that are in memory, and batches of them.

`Schedule` says which those are at a step; a thread reads the pieces that come next. Frames live
in a ring of W slots, on the host (`Resident.batch`) or on a device, which is then given what to
write where (`Resident.loads`) and where the frames of a batch are (`Resident.places`).
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pvn.data.prefetch import Prefetch
from pvn.data.sampler import mixture_indices, uniform_indices
from pvn.data.schedule import AHEAD, Schedule, piece_rows
from pvn.data.stack import STACK, window_at
from pvn.data.store import FRAME_SHAPE, Rows
from pvn.types import Window

BLOCK_ROWS = 2048  # rows read at once, at most
KEPT = 8  # batches whose frames are there at a time: fresh memory costs more than the copy into it

ReadRows = Callable[[int, int], np.ndarray]  # (first row, one past the last) -> [rows, ...]


class Load(NamedTuple):
    """Rows to put into the ring."""

    at: int  # the first one's place there
    frames: np.ndarray  # uint8 [rows, 84, 84]
    responses: np.ndarray | None  # [rows, T]


class Resident:
    """What is resident, from a step on. Steps are to be asked for in order, by one thread.

    A context manager: it reads ahead in a thread, which leaving it ends.
    """

    def __init__(
        self,
        rows: Rows,
        bounds: tuple[np.ndarray, np.ndarray],
        valid: np.ndarray,
        schedule: Schedule,
        *,
        seed: int,
        batch_size: int,
        start: int,
        shares: np.ndarray | None = None,
        responses: ReadRows | None = None,
        returns: np.ndarray | None = None,
        on_host: bool = True,
    ):
        """
        Args:
          rows, bounds: of a collection, frames on disk; see `stack.episode_bounds`.
          valid: int64 [M], the row of each transition.
          seed: of the draws.
          batch_size: B, of all processes together.
          start: the first step that will be asked for.
          shares: float64 [K], of each dataset in the draws; None: all transitions alike.
          responses: reads those of the indicator; None: batches bring none.
          returns: [N, T] of all rows, where batches are to bring Monte Carlo returns.
          on_host: keep the frames here; else `loads` hands them out and `batch` has none.
        """
        self._rows, self._bounds, self._valid = rows, bounds, valid
        self._schedule, self._seed, self._batch_size = schedule, seed, batch_size
        self._shares, self._read_responses, self._returns = shares, responses, returns
        self._first, stop = piece_rows(valid, schedule.bounds)
        stop = np.minimum(stop, len(rows.action))
        counts = stop - self._first  # [K, n]
        self._offset = np.cumsum(counts, axis=0) - counts  # of each dataset's rows within a slot
        self._stop = stop
        self._slot_rows = int(counts.sum(axis=0).max())
        self.block_rows = min(BLOCK_ROWS, int(counts.max()))  # rows of a `Load`, at most
        self._sizes = np.diff(schedule.bounds)  # [K, n]
        self._next = schedule.position(start, batch_size)  # the place read next
        self._reader = Prefetch(self._read_from(self._next), depth=AHEAD * len(counts))
        self._items = iter(self._reader)
        self._frames: np.ndarray | None = None
        if on_host:
            self._frames = np.empty((self.num_ring_rows, *FRAME_SHAPE), np.uint8)
            batches = np.empty((KEPT, batch_size, STACK + 1, *FRAME_SHAPE), np.uint8)
            self._batches = itertools.cycle(batches)
        self._responses: np.ndarray | None = None

    @property
    def num_ring_rows(self) -> int:
        """How many frames the ring holds."""
        return self._schedule.num_resident * self._slot_rows

    def __enter__(self) -> "Resident":
        self._reader.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.__exit__(*exception)

    def _read_from(self, place: int) -> Iterator[Load]:
        """The pieces of all places from `place` on, block by block, for ever if they rotate."""
        schedule = self._schedule
        for q in itertools.count(place):
            if not schedule.rotates and q > 0:
                return
            piece, slot = schedule.order[q % schedule.num_pieces], q % schedule.num_resident
            for k in range(len(self._sizes)):
                first, last = int(self._first[k, piece]), int(self._stop[k, piece])
                at = slot * self._slot_rows + int(self._offset[k, piece])
                for row in range(first, last, BLOCK_ROWS):
                    span = (row, min(row + BLOCK_ROWS, last))
                    responses = self._read_responses(*span) if self._read_responses else None
                    yield Load(at + row - first, self._rows.frame[slice(*span)], responses)

    def loads(self, step: int) -> Iterator[Load]:
        """What is to be put into the ring before a batch of `step` is taken from it."""
        stop = self._schedule.position(step, self._batch_size) + self._schedule.num_resident
        while self._next < stop:
            piece = self._schedule.order[self._next % self._schedule.num_pieces]
            rows = int(np.sum(self._stop[:, piece] - self._first[:, piece]))
            while rows:
                load = next(self._items)
                rows -= len(load.frames)
                self._keep(load)
                yield load
            self._next += 1

    def _keep(self, load: Load) -> None:
        span = slice(load.at, load.at + len(load.frames))
        if self._frames is not None:
            self._frames[span] = load.frames
        if load.responses is not None:
            if self._responses is None:
                width = load.responses.shape[1]
                self._responses = np.empty((self.num_ring_rows, width), load.responses.dtype)
            self._responses[span] = load.responses

    def places(self, step: int) -> Window:
        """The global batch of `step`, with int32 [B, 5] `frames`: their places in the ring.

        -1 stands for a frame of zeros, outside the episode. All `loads` of the step must be done.
        """
        schedule = self._schedule
        pieces = schedule.resident(schedule.position(step, self._batch_size))
        sizes = self._sizes[:, pieces]  # [K, W]
        if self._shares is None:
            item = uniform_indices(self._seed, step, self._batch_size, int(sizes.sum()))
        else:
            item = mixture_indices(
                self._seed, step, self._batch_size, sizes.sum(axis=1), self._shares
            )
        ends = np.cumsum(sizes)
        held = np.searchsorted(ends, item, side="right")  # which of the K W parts
        k, w = np.divmod(held, len(pieces))
        piece = pieces[w]
        number = schedule.bounds[k, piece] + item - (ends - sizes.ravel())[held]
        row = self._valid[number]
        slot = (schedule.position(step, self._batch_size) + w) % schedule.num_resident
        at = slot * self._slot_rows + self._offset[k, piece] + row - self._first[k, piece]
        offsets = np.arange(1 - STACK, 2)
        inside = (row[:, None] + offsets >= self._bounds[0][row, None]) & (
            row[:, None] + offsets < self._bounds[1][row, None]
        )
        frames = np.where(inside, at[:, None] + offsets, -1).astype(np.int32)
        return window_at(
            self._rows,
            row,
            frames,
            None if self._responses is None else self._responses[at],
            None if self._returns is None else self._returns[row],
        )

    def batch(self, step: int) -> Window:
        """The global batch of `step`, from the ring on the host.

        Its frames are overwritten `KEPT` batches later.
        """
        assert self._frames is not None
        for _ in self.loads(step):
            pass
        window, frames = self.places(step), next(self._batches)
        # Places outside are clipped to 0; with another mode, `take` would copy twice.
        self._frames.take(window.frames, axis=0, out=frames, mode="clip")
        frames[window.frames < 0] = 0
        return window._replace(frames=frames)
