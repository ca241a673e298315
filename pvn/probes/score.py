"""Scores of predictions, with intervals by a bootstrap over whole episodes.

Rows of one episode are correlated. Resampling rows would make an interval far too narrow.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

NUM_RESAMPLES = 2000
_CHUNK = 200  # resamples in memory together

Statistic = Callable[[np.ndarray], np.ndarray]
"""How often each of E episodes counts, int [B, E] -> a score of each of K outputs, float64 [B, K].
NaN where a score is not defined."""


class Groups(NamedTuple):
    """The episode of each of M test rows, or of some of them."""

    of_row: np.ndarray  # int64 [M], from 0 to E - 1
    num_episodes: int  # E

    def select(self, rows: np.ndarray) -> "Groups":
        """The same for some rows, bool [M] or int [R]."""
        return Groups(self.of_row[rows], self.num_episodes)


class Score(NamedTuple):
    """A score and its 95 % percentile bootstrap interval over test episodes."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Statistic, num_episodes: int, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> tuple[Score, list[Score]]:
    """The mean score over the outputs where it is defined, and the score of each output.

    Resamples without a defined score do not count.
    """
    random = np.random.default_rng(seed)
    share = np.full(num_episodes, 1 / num_episodes)
    counts = random.multinomial(num_episodes, share, num_resamples)
    whole = statistic(np.ones((1, num_episodes), np.int64))[0]
    found = np.concatenate(
        [statistic(counts[at : at + _CHUNK]) for at in range(0, num_resamples, _CHUNK)]
    )
    used = found[:, np.isfinite(whole)]
    defined = np.isfinite(used)
    means = np.where(defined, used, 0).sum(axis=1) / np.maximum(defined.sum(axis=1), 1)
    value = float(np.mean(whole[np.isfinite(whole)])) if used.size else np.nan
    mean = _score(value, means[defined.any(axis=1)])
    return mean, [_score(float(x), found[:, k]) for k, x in enumerate(whole)]


def _score(value: float, resamples: np.ndarray) -> Score:
    resamples = resamples[np.isfinite(resamples)]
    if not len(resamples) or not np.isfinite(value):
        return Score(value, np.nan, np.nan)
    low, high = np.quantile(resamples, [0.025, 0.975])
    return Score(value, float(low), float(high))


def r_squared(
    episode: Groups, target: np.ndarray, prediction: np.ndarray, known: np.ndarray
) -> Statistic:
    """R^2, the share of a target's variance that the prediction explains.

    Args:
      episode: of each row.
      target, prediction: float [M, K].
      known: bool [M, K]; other entries do not count.
    """
    squares = _squares(episode, target, prediction, known)

    def statistic(counts: np.ndarray) -> np.ndarray:
        spread, wrong = squares(counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, 1 - wrong / spread, np.nan)

    return statistic


def pooled_r_squared(
    episode: Groups,
    target: np.ndarray,
    prediction: np.ndarray,
    known: np.ndarray,
    variance: np.ndarray,
) -> Statistic:
    """R^2 of K outputs together, one score: the share of the sum of their variances.

    Each output is first divided by its standard deviation. The mean of the outputs' R^2 can be
    anything if one of them hardly varies among the test rows, which has little weight here.

    Args:
      episode, target, prediction, known: as in `r_squared`.
      variance: float [K], of each output, over more than the test rows; positive.
    """
    squares = _squares(episode, target, prediction, known)

    def statistic(counts: np.ndarray) -> np.ndarray:
        spread, wrong = (np.sum(x / variance[None], axis=1, keepdims=True) for x in squares(counts))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > 0, 1 - wrong / spread, np.nan)

    return statistic


def _squares(
    episode: Groups, target: np.ndarray, prediction: np.ndarray, known: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """counts int [B, E] -> sums of squares float64 [B, K] around the mean, and of the errors."""
    target, prediction = target.astype(np.float64), prediction.astype(np.float64)
    target = np.where(known, target, 0)
    centre = target.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, target - centre[None], 0)
    error = np.where(known, target - prediction, 0)
    sums = np.stack(
        [
            per_episode(episode, part)
            for part in (known.astype(np.float64), centred, centred**2, error**2)
        ]
    )
    spread_of_all = np.sum(sums[2], axis=0)

    def squares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count, total, square, wrong = np.tensordot(sums, counts, (1, 1)).swapaxes(1, 2)
        spread = square - total**2 / np.maximum(count, 1)
        # Rounding alone gives a resample whose targets do not vary a small spread.
        return np.where(spread > 1e-9 * spread_of_all[None], spread, 0), wrong

    return squares


def of_rows(episode: Groups, function: Callable[[np.ndarray], Sequence[float]]) -> Statistic:
    """K scores that a function computes from rows, int64 [R], each as often as it is drawn."""
    rows = np.arange(len(episode.of_row))

    def statistic(counts: np.ndarray) -> np.ndarray:
        return np.array([function(np.repeat(rows, count[episode.of_row])) for count in counts])

    return statistic


def per_episode(episode: Groups, values: np.ndarray) -> np.ndarray:
    """Sums of values [M, K] over the rows of each episode, float64 [E, K]."""
    sums = np.zeros((episode.num_episodes, values.shape[1]))
    order = np.argsort(episode.of_row, kind="stable")
    sorted_ = episode.of_row[order]
    starts = np.flatnonzero(np.diff(sorted_, prepend=-1))
    sums[sorted_[starts]] = np.add.reduceat(values[order], starts, axis=0, dtype=np.float64)
    return sums
