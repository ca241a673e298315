"""An episode as the readers of public formats hand it over."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pvn.data.store import FRAME_SHAPE, Rows
from pvn.formats.findings import Findings
from pvn.formats.packing import pack, unpack

TIME_LIMIT = 27_000  # agent steps; Dopamine logs mark an episode that it ended as a game over
MOST_ROWS = 65_536  # of an episode, which is held in memory until its end is known
TOO_LONG = f"an episode has more than {MOST_ROWS:,} rows; games are cut after {TIME_LIMIT:,} steps"


class Block(NamedTuple):
    """n `Rows` of one episode with compressed frames."""

    packed: bytes
    action: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    truncated: np.ndarray
    cut_start: np.ndarray
    episode: np.ndarray

    def rows(self) -> Rows:
        """The same rows with frames uint8 [n, 84, 84]."""
        frames = np.empty((len(self.action), *FRAME_SHAPE), np.uint8)
        return Rows(unpack(self.packed, frames), *self[1:])


class RecordedEpisode:
    """The rows of one episode, or of a fragment of one, while they are read.

    cut_start: the episode began before its record does.
    terminal: the game ended after the last row.
    """

    def __init__(self, cut_start: bool = False):
        self.cut_start = cut_start
        self.terminal = False
        self.num_rows = 0
        self._parts: list[tuple[bytes, np.ndarray, np.ndarray]] = []

    def append(self, packed: bytes, action: np.ndarray, reward: np.ndarray) -> None:
        """Appends n > 0 rows: frames from `pack`, int32 [n], float32 [n].

        Raises:
          ValueError: more rows than an episode of any game has.
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
                frames = unpack(packed, np.empty((len(action), *FRAME_SHAPE), np.uint8))
                self._parts.append((pack(frames[:keep]), action[:keep], reward[:keep]))

    def blocks(self, number: int, findings: Findings) -> Iterator[Block]:
        """Yields the rows block by block under this episode number, and releases them.

        A reward that is not finite becomes 0, and an end by the time limit a truncation. Both are
        counted.
        """
        terminal = self.terminal
        if terminal and not self.cut_start and self.num_rows == TIME_LIMIT:
            terminal = False
            findings.add("time_outs")
        done = 0
        while self._parts:
            packed, action, reward = self._parts.pop(0)
            count = len(action)
            reward = np.array(reward, np.float32)
            undefined = ~np.isfinite(reward)
            reward[undefined] = 0
            findings.add("nan_rewards", int(undefined.sum()))
            ends, starts = np.zeros((2, count), bool)
            starts[0] = self.cut_start and done == 0
            done += count
            ends[-1] = done == self.num_rows
            yield Block(
                packed=packed,
                action=action.astype(np.int32),
                reward=reward,
                terminal=ends & terminal,
                truncated=ends & (not terminal),
                cut_start=starts,
                episode=np.full(count, number, np.int32),
            )
