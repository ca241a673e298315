"""The transitions of a dataset: the rows they start from, and the observations at these rows.

An observation joins the last S frames of one episode. Frames before the start of the episode are
zeros, as in Dopamine.
"""

from typing import NamedTuple

import numpy as np

from pvn.data.layout import Rows
from pvn.types import Array, FrameBatch, ObservationSpec


def episode_spans(episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each episode, and one past its last row; int64 [number of episodes] each.

    episode: int [N], the episode number of each row.
    """
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    return starts, np.append(starts[1:], len(episode))


def has_stack(rows: Rows) -> np.ndarray:
    """bool [N]: whether the dataset has all frames of the observation at a row.

    It lacks some at the first S - 1 rows of a fragment that begins within an episode.
    """
    known = np.ones(len(rows.action), bool)
    for start in np.flatnonzero(rows.cut_start):
        first = slice(start, start + rows.observation.stack - 1)
        known[first] &= rows.episode[first] != rows.episode[start]
    return known


def transition_rows(rows: Rows) -> np.ndarray:
    """The rows that a transition starts from, int64 [M].

    Such a row has all frames of its observation. It is terminal, or the next row is of the same
    episode.
    """
    followed = np.append(rows.episode[1:] == rows.episode[:-1], False)
    return np.flatnonzero((rows.terminal | followed) & has_stack(rows))


class Transitions(NamedTuple):
    """M transitions among the N rows of K datasets."""

    rows: Rows  # frames in memory or on disk
    first: np.ndarray  # int64 [N], the first row of each row's episode
    stop: np.ndarray  # int64 [N], one past the last row of each row's episode
    start: np.ndarray  # int64 [M], the row that each transition starts from
    groups: np.ndarray  # int64 [K + 1]: dataset k has transitions groups[k] .. groups[k + 1]

    @property
    def observation(self) -> ObservationSpec:
        """What an observation is."""
        return self.rows.observation

    @property
    def num_transitions(self) -> int:
        """M."""
        return len(self.start)

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.rows.action)

    @property
    def nbytes(self) -> int:
        """Bytes in memory, without the frames."""
        columns = self.rows.columns.values()
        return sum(x.nbytes for x in (*columns, self.first, self.stop, self.start))

    def frame_rows(self, row: np.ndarray, last: int = 1) -> np.ndarray:
        """int64 [B, S + last]: the rows from `row` - S + 1 to `row + last`; -1 outside the episode.

        A frame at -1 is zeros. Only this method decides which frames are zeros.

        last: 1: the frames of the next observation too, which overlap; 0: without it.
        """
        offsets = range(1 - self.observation.stack, last + 1)
        at = row[:, None] + np.asarray(offsets)
        inside = (at >= self.first[row, None]) & (at < self.stop[row, None])
        return np.where(inside, at, -1)

    def _frames(self, row: np.ndarray, last: int) -> np.ndarray:
        """uint8 [B, S + last, *frame]."""
        at = self.frame_rows(row, last)
        frames = self.rows.frame[np.where(at < 0, row[:, None], at)]
        frames[at < 0] = 0
        return frames

    def observations(self, row: np.ndarray) -> np.ndarray:
        """Observations at rows int [B]: uint8 [B, H, W, C], newest frame last."""
        return np.asarray(self.observation.join(self._frames(row, 0)))

    def without_frames(
        self,
        row: np.ndarray,
        responses: np.ndarray | None = None,
        returns: np.ndarray | None = None,
    ) -> FrameBatch:
        """The batch of transitions that start at rows int [B], without their frames.

        responses, returns: [B, ...] and float32 [B, T], of these rows; None: the batch has none.
        """
        terminal = self.rows.terminal[row]
        action = self.rows.action
        return FrameBatch(
            frames=None,
            places=None,
            a_tm1=action[row],
            discount_t=1.0 - terminal.astype(np.float32),
            a_t=np.where(terminal, 0, action[np.where(terminal, row, row + 1)]),
            response_tm1=responses,
            return_tm1=returns,
        )

    def batch(
        self,
        row: np.ndarray,
        responses: Array | None = None,
        returns: np.ndarray | None = None,
    ) -> FrameBatch:
        """The batch of transitions that start at rows int [B], with their frames.

        responses, returns: [N, ...] and float32 [N, T], of all rows; None: the batch has none. The
          responses may be on disk.
        """
        batch = self.without_frames(
            row,
            None if responses is None else responses[row],
            None if returns is None else returns[row],
        )
        return batch._replace(frames=self._frames(row, 1))


def find_transitions(
    rows: Rows, starts: np.ndarray | None = None, where: np.ndarray | None = None
) -> Transitions:
    """Finds the transitions among N rows.

    Args:
      rows: N rows.
      starts: int64 [K + 1]: dataset k has rows starts[k] .. starts[k + 1]; None: one dataset.
      where: bool [N]: whether a transition may start from a row; None: from all.
    """
    first, stop = episode_spans(rows.episode)
    lengths = stop - first
    start = transition_rows(rows)
    if where is not None:
        start = start[where[start]]
    if starts is None:
        starts = np.array([0, len(rows.action)])
    return Transitions(
        rows,
        np.repeat(first, lengths),
        np.repeat(stop, lengths),
        start,
        np.searchsorted(start, starts),
    )
