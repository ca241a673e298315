"""What readers of public formats hand over: whole episodes, in the order of play."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import imagecodecs
import numpy as np

from pvn.data.store import FRAME_SHAPE, Rows
from pvn.errors import UserError

TIME_LIMIT = 27_000  # agent steps; the logs mark an episode that it ended as a game over
MOST_ROWS = 65_536  # of an episode; it is held until its end is known
TOO_LONG = f"an episode has more than {MOST_ROWS:,} rows; games are cut after {TIME_LIMIT:,} steps"


class Tally:
    """What a conversion found besides rows; kept with the dataset."""

    def __init__(self, counts: dict[str, int] | None = None):
        self.counts = dict(counts or {})
        self.position = 0  # bytes of the unit's file that are read so far
        self.problems: list[str] = []  # one line each, of what was left out; for the person

    def add(self, name: str, count: int = 1) -> None:
        if count:
            self.counts[name] = self.counts.get(name, 0) + count

    def leave_out(self, what: str, problem: str, count: int = 1) -> None:
        """Notes that `count` episodes (or windows) are not in the dataset."""
        self.add(what, count)
        self.problems.append(problem)


class Unit(NamedTuple):
    """A file, or files that belong together: what is converted or left out as one."""

    name: str  # of this one alone among all of a game's
    num_bytes: int
    read: "Callable[..., Iterator[Episode]]"  # of a Tally; can be pickled, for other processes


class CorruptError(UserError):
    """A unit's data are broken: nothing of it can be trusted."""


def pack(frames: np.ndarray) -> bytes:
    """LZ4 of uint8 [n, 84, 84]: in memory and on the way, for a thirtieth of the bytes."""
    return bytes(imagecodecs.lz4_encode(frames, header=True))  # type: ignore[arg-type]


def unpack(packed: bytes, frames: np.ndarray) -> np.ndarray:
    """Fills uint8 [n, 84, 84] with what was packed, and returns it."""
    imagecodecs.lz4_decode(packed, header=True, out=frames.reshape(-1).data)
    return frames


class Block(NamedTuple):
    """`Rows` of one episode, n of them, the frames packed."""

    packed: bytes
    action: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    truncated: np.ndarray
    cut_start: np.ndarray
    episode: np.ndarray

    def rows(self) -> Rows:
        """The same with the frames as they are."""
        frames = np.empty((len(self.action), *FRAME_SHAPE), np.uint8)
        return Rows(unpack(self.packed, frames), *self[1:])


class Episode:
    """Rows of one episode, as they are read."""

    def __init__(self, cut_start: bool = False):
        """cut_start: it began before the record does."""
        self.cut_start = cut_start
        self._parts: list[tuple[bytes, np.ndarray, np.ndarray]] = []
        self.num_rows = 0
        self.terminal = False

    def append(self, packed: bytes, action: np.ndarray, reward: np.ndarray) -> None:
        """Adds rows: frames from `pack`, int32 [n], float32 [n]; n > 0.

        Raises:
          ValueError: an episode that no game can have.
        """
        self._parts.append((packed, action, reward))
        self.num_rows += len(action)
        if self.num_rows > MOST_ROWS:
            raise ValueError(TOO_LONG)

    def drop_last(self, count: int) -> None:
        """Takes the last `count` rows away."""
        self.num_rows -= count
        while count:
            packed, action, reward = self._parts.pop()
            keep = max(len(action) - count, 0)
            count -= len(action) - keep
            if keep:
                frames = unpack(packed, np.empty((len(action), *FRAME_SHAPE), np.uint8))
                self._parts.append((pack(frames[:keep]), action[:keep], reward[:keep]))

    def blocks(self, number: int, tally: Tally) -> Iterator[Block]:
        """Its rows block by block, under this episode number; they are then no longer held.

        A reward that is not finite becomes 0, and an end by the time limit a cut; both are counted.
        """
        terminal = self.terminal
        if terminal and not self.cut_start and self.num_rows == TIME_LIMIT:
            terminal = False
            tally.add("time_outs")
        done = 0
        while self._parts:
            packed, action, reward = self._parts.pop(0)
            count = len(action)
            reward = np.array(reward, np.float32)
            undefined = ~np.isfinite(reward)
            reward[undefined] = 0
            tally.add("nan_rewards", int(undefined.sum()))
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


SPLITS = {  # checkpoints of the published splits (SGI, arXiv 2106.04799); -1: the last there is
    "full": (),
    "mixed": (0, 9, 19, 29, 39, -1),
    "mixed_small": (0, 24, -1),
    "weak": (0,),
}
WEAK_RUNS = (1, 2, 3, 4, 5)


def choose_checkpoints(
    where: str, there: Sequence[int], split: str | None, wanted: Sequence[int]
) -> list[int]:
    """Numbers of the checkpoints to convert, rising.

    Args:
      where: what has them, for messages.
      there: those that there are.
      split: a name of `SPLITS`, or None.
      wanted: without a split, the numbers to take; empty: all.

    Raises:
      UserError: one that is wanted is not there.
    """
    if not there:
        raise UserError(f"{where}: holds no checkpoints")
    numbers = SPLITS[split] if split else wanted
    chosen = sorted({max(there) if n == -1 else n for n in numbers}) or sorted(there)
    if missing := [n for n in chosen if n not in there]:
        raise UserError(
            f"{where}: has no checkpoint {missing[0]}, only {_spans(sorted(there))}; choose with "
            "--checkpoints"
        )
    return chosen


def _spans(numbers: Sequence[int]) -> str:
    """0-3,7 for 0, 1, 2, 3, 7."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True))
