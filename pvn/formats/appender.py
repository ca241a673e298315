"""Writes episodes of public formats to a dataset, in whole shards."""

from collections.abc import Generator, Iterator

import numpy as np

from pvn.data.layout import COLUMNS, SHARD_ROWS, Rows
from pvn.data.prefetch import Prefetch
from pvn.data.writer import DatasetWriter
from pvn.errors import UserError
from pvn.formats.episode import Block
from pvn.formats.findings import Findings
from pvn.formats.inputs import InputFile
from pvn.formats.packing import unpack
from pvn.types import ATARI

_BLOCKS_AHEAD = 16  # blocks that a background thread reads ahead


class Appender:
    """Buffers rows until a shard is full, so that each shard is written once."""

    def __init__(self, writer: DatasetWriter):
        self._writer = writer
        # One buffer is reused: new memory costs more time than copying into it.
        self._rows = Rows(
            np.empty((SHARD_ROWS, *ATARI.frame), np.uint8),
            *(np.empty(SHARD_ROWS, dtype) for dtype in COLUMNS.values()),
        )
        self._count = 0

    @property
    def num_episodes(self) -> int:
        """Number of published episodes."""
        return int(self._writer.attributes["num_episodes"])

    def append(self, block: Block, first_episode: int) -> None:
        """Adds rows to the buffer, and writes each shard that becomes full.

        first_episode: is added to the block's episode numbers.
        """
        rows, start, stop = None, 0, len(block.action)
        while start < stop:
            room = SHARD_ROWS - self._writer.num_written % SHARD_ROWS - self._count
            taken = min(room, stop - start)
            span = slice(self._count, self._count + taken)
            if taken == stop:  # the whole block, the usual case: decompress it in place
                unpack(block.packed, self._rows.frame[span])
            else:
                rows = rows or block.rows()
                self._rows.frame[span] = rows.frame[start : start + taken]
            for column, values in zip(self._rows.columns.values(), block[1:], strict=True):
                column[span] = values[start : start + taken]
            self._rows.episode[span] += first_episode
            self._count += taken
            start += taken
            if taken == room:
                self.flush()

    def flush(self) -> None:
        """Writes the rows in the buffer."""
        if self._count:
            columns = {name: x[: self._count] for name, x in self._rows.columns.items()}
            self._writer.append(Rows(self._rows.frame[: self._count], **columns))
            self._count = 0

    def discard(self) -> None:
        """Removes all rows that are not published."""
        self._count = 0
        self._writer.discard()


def read_blocks(file: InputFile, findings: Findings) -> Iterator[Block]:
    """Yields the rows of a file block by block. Its episodes are numbered from 0."""
    for number, episode in enumerate(file.read(findings)):
        yield from episode.blocks(number, findings)


def append_file(
    file: InputFile, appender: Appender, num_actions: int, findings: Findings
) -> Generator[None]:
    """Appends the rows of a file to the dataset, and yields after each block.

    Raises:
      CorruptError: the data are broken.
      UserError: the game does not have an action of the file.
    """
    first_episode = appender.num_episodes
    with Prefetch(read_blocks(file, findings), _BLOCKS_AHEAD) as blocks:
        for block in blocks:
            if (found := int(block.action.max())) >= num_actions:
                raise UserError(
                    f"{file.name}: holds action {found}, expected 0 to {num_actions - 1}; another "
                    "game, or choose --num_actions"
                )
            appender.append(block, first_episode)
            yield
