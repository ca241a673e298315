"""From single frames to what an agent saw: stacks of four, within one episode.

The convention at an episode's start is Dopamine's: missing frames are zeros. (The published
proto-value code drops the first three steps of each episode instead.)
"""

import numpy as np

from pvn.data.store import Rows
from pvn.types import Window

STACK = 4


def episode_bounds(episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each row's episode, and one past its last; int64 [N] each."""
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    lengths = np.diff(starts, append=len(episode))
    return np.repeat(starts, lengths), np.repeat(starts + lengths, lengths)


def episode_spans(episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each of K episodes, and one past its last; int64 [K] each."""
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    return starts, np.append(starts[1:], len(episode))


def has_stack(rows: Rows) -> np.ndarray:
    """bool [N]: not the first three rows of an episode whose start was cut off."""
    known = np.ones(len(rows.action), bool)
    for start in np.flatnonzero(rows.cut_start):
        first = slice(start, start + STACK - 1)
        known[first] &= rows.episode[first] != rows.episode[start]
    return known


def transition_rows(rows: Rows) -> np.ndarray:
    """The rows that are transitions: terminal or followed in their episode, with a known stack.

    int64 [M].
    """
    followed = np.append(rows.episode[1:] == rows.episode[:-1], False)
    return np.flatnonzero((rows.terminal | followed) & has_stack(rows))


def gather_frames(
    rows: Rows, bounds: tuple[np.ndarray, np.ndarray], index: np.ndarray, offsets: range
) -> np.ndarray:
    """uint8 [B, len(offsets), 84, 84]: frames at `index + offsets`, zeros outside the episode."""
    at = index[:, None] + np.asarray(offsets)
    outside = (at < bounds[0][index, None]) | (at >= bounds[1][index, None])
    frames = rows.frame[np.where(outside, index[:, None], at)]
    frames[outside] = 0
    return frames


def gather_stacks(
    rows: Rows, bounds: tuple[np.ndarray, np.ndarray], index: np.ndarray
) -> np.ndarray:
    """Observations at rows `index`: uint8 [B, 84, 84, 4], newest frame last."""
    return np.moveaxis(gather_frames(rows, bounds, index, range(1 - STACK, 1)), 1, -1)


def window_at(
    rows: Rows,
    index: np.ndarray,
    frames: np.ndarray,
    responses: np.ndarray | None,
    returns: np.ndarray | None,
) -> Window:
    """Transitions that start at rows `index` [B], with what is given of each, [B, ...]."""
    terminal = rows.terminal[index]
    return Window(
        frames=frames,
        action=rows.action[index],
        next_action=np.where(terminal, 0, rows.action[np.where(terminal, index, index + 1)]),
        discount=1.0 - terminal.astype(np.float32),
        response=responses,
        returns=returns,
    )


def gather_windows(
    rows: Rows,
    bounds: tuple[np.ndarray, np.ndarray],
    index: np.ndarray,
    responses: np.ndarray | None = None,
    returns: np.ndarray | None = None,
) -> Window:
    """Transitions that start at rows `index` [B].

    responses, returns: [N, T] of all rows, where the transitions are to bring theirs.
    """
    return window_at(
        rows,
        index,
        gather_frames(rows, bounds, index, range(1 - STACK, 2)),
        None if responses is None else responses[index],
        None if returns is None else returns[index],
    )
