"""Collects blocks of any length into whole shards of a dataset."""

import numpy as np

from pvn.data.store import COLUMNS, FRAME_SHAPE, SHARD_ROWS, Rows
from pvn.data.writer import DatasetWriter
from pvn.formats.episode import Block
from pvn.formats.packing import unpack


class Appender:
    """Buffers rows and writes them shard by shard, so that each shard is written once."""

    def __init__(self, writer: DatasetWriter):
        self._writer = writer
        # One buffer is used again and again: fresh memory costs more than copying into it.
        self._rows = Rows(
            np.empty((SHARD_ROWS, *FRAME_SHAPE), np.uint8),
            *(np.empty(SHARD_ROWS, dtype) for dtype in COLUMNS.values()),
        )
        self._count = 0

    def append(self, block: Block, first_episode: int) -> None:
        """Adds rows. `first_episode` is added to their episode numbers."""
        rows, start, stop = None, 0, len(block.action)
        while start < stop:
            room = SHARD_ROWS - self._writer.num_written % SHARD_ROWS - self._count
            taken = min(room, stop - start)
            span = slice(self._count, self._count + taken)
            if taken == stop:  # the whole block, as nearly always: decompress it in place
                unpack(block.packed, self._rows.frame[span])
            else:
                rows = rows or block.rows()
                self._rows.frame[span] = rows.frame[start : start + taken]
            for column, values in zip(self._rows[1:], block[1:], strict=True):
                column[span] = values[start : start + taken]
            self._rows.episode[span] += first_episode
            self._count += taken
            start += taken
            if taken == room:
                self.flush()

    def flush(self) -> None:
        """Writes the rows in the buffer."""
        if self._count:
            self._writer.append(Rows(*(column[: self._count] for column in self._rows)))
            self._count = 0

    def discard(self) -> None:
        """Drops all rows that are not published."""
        self._count = 0
        self._writer.discard()
