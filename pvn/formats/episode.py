"""An episode as the readers of public formats return it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pvn.data.layout import Rows
from pvn.formats.findings import Findings
from pvn.formats.packing import pack, unpack
from pvn.types import ATARI

TIME_LIMIT = 27_000  # agent steps; Dopamine logs mark an episode of this length as terminal
MOST_ROWS = 65_536  # limit of an episode, which is in memory until its end is known
TOO_LONG = f"an episode has more than {MOST_ROWS:,} rows; games are cut after {TIME_LIMIT:,} steps"


class Block(NamedTuple):
    """n `Rows` of one episode with compressed frames."""

    packed: bytes  # from `pack`
    action: np.ndarray  # int32 [n]
    reward: np.ndarray  # float32 [n]
    terminal: np.ndarray  # bool [n]
    truncated: np.ndarray  # bool [n]
    cut_start: np.ndarray  # bool [n]
    episode: np.ndarray  # int32 [n]

    def rows(self) -> Rows:
        """The same rows with decompressed frames, uint8 [n, 84, 84]."""
        frames = np.empty((len(self.action), *ATARI.frame), np.uint8)
        return Rows(unpack(self.packed, frames), *self[1:])


class RecordedEpisode:
    """The rows of one episode, or of a fragment of an episode, while they are read.

    Attributes:
      cut_start: whether the start of the episode is missing.
      terminal: whether the game ended after the last row.
      num_rows: number of rows so far.
    """

    def __init__(self, cut_start: bool = False):
        self.cut_start = cut_start
        self.terminal = False
        self.num_rows = 0
        self._parts: list[tuple[bytes, np.ndarray, np.ndarray]] = []

    def append(self, packed: bytes, action: np.ndarray, reward: np.ndarray) -> None:
        """Appends n > 0 rows: frames from `pack`, int32 [n], float32 [n].

        Raises:
          ValueError: the episode has more than `MOST_ROWS` rows.
        """
        self._parts.append((packed, action, reward))
        self.num_rows += len(action)
        if self.num_rows > MOST_ROWS:
            raise ValueError(TOO_LONG)

    def drop_last(self, count: int) -> None:
        """Removes the last `count` rows."""
        self.num_rows -= count
        while count:
            packed, action, reward = self._parts.pop()
            keep = max(len(action) - count, 0)
            count -= len(action) - keep
            if keep:
                frames = unpack(packed, np.empty((len(action), *ATARI.frame), np.uint8))
                self._parts.append((pack(frames[:keep]), action[:keep], reward[:keep]))

    def blocks(self, number: int, findings: Findings) -> Iterator[Block]:
        """Yields the rows block by block, and releases their memory.

        A reward that is not finite becomes 0. An episode that the time limit ended becomes
        truncated. `findings` counts both.

        Args:
          number: the episode number of the rows.
          findings: gets the counts `nan_rewards` and `time_outs`.
        """
        terminal = self.terminal
        if terminal and not self.cut_start and self.num_rows == TIME_LIMIT:
            terminal = False
            findings.add("time_outs")
        num_yielded = 0
        while self._parts:
            packed, action, reward = self._parts.pop(0)
            count = len(action)
            reward = np.array(reward, np.float32)
            undefined = ~np.isfinite(reward)
            reward[undefined] = 0
            findings.add("nan_rewards", int(undefined.sum()))
            ends, starts = np.zeros((2, count), bool)
            starts[0] = self.cut_start and num_yielded == 0
            num_yielded += count
            ends[-1] = num_yielded == self.num_rows
            yield Block(
                packed=packed,
                action=action.astype(np.int32),
                reward=reward,
                terminal=ends & terminal,
                truncated=ends & (not terminal),
                cut_start=starts,
                episode=np.full(count, number, np.int32),
            )
