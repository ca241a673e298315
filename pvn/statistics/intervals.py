"""Intervals of statistics of episode returns.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
All intervals are percentile bootstraps, and pure functions of their arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
NUM_RESAMPLES = 2_000


def _sample(values: ArrayLike) -> np.ndarray:
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not sample.size:
        raise ValueError(f"expected a non-empty vector, got shape {sample.shape}")
    return sample


def _resampled_means(sample: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    means = np.empty(count)
    batch = max(2**22 // sample.size, 1)  # limits the draws in memory to 32 MB
    for start in range(0, count, batch):
        part = means[start : start + batch]
        draws = rng.integers(sample.size, size=(part.size, sample.size))
        part[:] = sample[draws].mean(axis=1)
    return means


def _percentiles(statistics: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistics, [tail, 1 - tail], axis=0)
    return low, high


def nested_bootstrap(
    groups: Sequence[ArrayLike],
    *,
    confidence: float = CONFIDENCE,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the mean of the groups' means, for example of the episodes of several seeds.

    Draws groups with replacement, then values within each drawn group. The interval so includes the
    variation between seeds and between episodes. A single value gives an interval of width 0, which
    carries no information.

    Args:
      groups: one vector for each seed. Lengths may differ; every group has the same weight.

    Returns:
      (low, high), in the unit of the values.

    Raises:
      ValueError: there are no groups, or one is empty.
    """
    samples = [_sample(group) for group in groups]
    if not samples:
        raise ValueError("expected at least one group")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(samples), size=(num_resamples, len(samples)))
    means = np.empty(drawn.shape)
    for group, sample in enumerate(samples):
        means[drawn == group] = _resampled_means(sample, int((drawn == group).sum()), rng)
    low, high = _percentiles(means.mean(axis=1), confidence)
    return float(low), float(high)


def stratified_bootstrap(
    runs: Mapping[Any, ArrayLike],
    statistic: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of an aggregate over games (Agarwal et al. 2021, section 4.1).

    Args:
      runs: the scores [R] of the runs of each stratum, usually a game; R may differ. Runs are
        resampled within their stratum, so one with a single run adds nothing to the width.
      statistic: maps the scores of each stratum, arrays [S, R], to [S, ...] for S resamples; for
        example `aggregates.interquartile_mean`.

    Returns:
      (low, high), each [...], in the unit of the statistic.

    Raises:
      ValueError: there are no strata, or one has no runs.
    """
    samples = [_sample(scores) for scores in runs.values()]
    if not samples:
        raise ValueError("expected the scores of at least one game")
    rng = np.random.default_rng(0)
    resamples = [
        scores[rng.integers(scores.size, size=(NUM_RESAMPLES, scores.size))] for scores in samples
    ]
    return _percentiles(statistic(resamples), CONFIDENCE)
