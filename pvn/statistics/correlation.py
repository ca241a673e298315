"""Rank correlation of two measurements, with an interval that suits few pairs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Correlation(NamedTuple):
    """Spearman's rank correlation of N pairs. None: too few pairs, or no variation."""

    num_pairs: int
    rho: float | None
    interval: tuple[float, float] | None  # 95 %
    p_value: float | None  # of a two-sided permutation test


_MIN_PAIRS = 5
_EXACT = 8  # up to so many pairs, all permutations are counted


def spearman(x: Sequence[float], y: Sequence[float], seed: int = 0) -> Correlation:
    """Spearman's rank correlation of pairs. Ties get their mean rank.

    The interval is Fisher's z with the variance (1 + rho^2 / 2) / (N - 3) of Bonett and Wright 2000
    ("Sample size requirements for estimating Pearson, Kendall and Spearman correlations"). The
    p-value counts permutations: all of them up to 8 pairs, else 9,999 random ones. Both assume that
    pairs are independent.

    Raises:
      ValueError: the lengths differ.
    """
    if len(x) != len(y):
        raise ValueError(f"expected as many x as y, got {len(x)} and {len(y)}")
    count = len(x)
    if count < _MIN_PAIRS or len(set(x)) < 2 or len(set(y)) < 2:
        return Correlation(count, None, None, None)
    ranks = [stats.rankdata(each) for each in (x, y)]
    rho = _pearson(ranks[0], ranks[1])
    error = np.sqrt((1 + rho**2 / 2) / (count - 3))
    middle = np.arctanh(np.clip(rho, -1 + 1e-9, 1 - 1e-9))
    low, high = np.tanh(middle + np.array([-1.96, 1.96]) * error)
    test = stats.permutation_test(
        (ranks[0],),
        lambda first: _pearson(first, ranks[1]),
        permutation_type="pairings",
        n_resamples=np.inf if count <= _EXACT else 9_999,
        rng=np.random.default_rng(seed),
    )
    return Correlation(count, rho, (float(low), float(high)), float(test.pvalue))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))


def within_groups(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float | None, int]:
    """Mean over groups, for example games, of the rank correlation of each group's pairs.

    Differences between groups do not enter. Groups with fewer than three pairs or without variation
    are left out.

    Returns:
      (mean, or None without a group; number of groups that count).
    """
    found = []
    for group in pairs.values():
        x, y = (np.array(each) for each in zip(*group, strict=True))
        if len(group) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
            found.append(_pearson(stats.rankdata(x), stats.rankdata(y)))
    return (float(np.mean(found)) if found else None), len(found)
