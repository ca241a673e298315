"""Rank correlation of two measurements, with an interval that suits few pairs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pvn.statistics.intervals import nested_bootstrap


class Correlation(NamedTuple):
    """Spearman's rank correlation of N pairs. None: too few pairs, or no variation.

    A perfect correlation has no interval.
    """

    num_pairs: int
    rho: float | None
    interval: tuple[float, float] | None  # 95 %
    p_value: float | None  # of a two-sided permutation test


_MIN_PAIRS = 5
_EXACT = 7  # up to so many pairs, all permutations are counted
_PERMUTATIONS = 9_999


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Spearman's rank correlation of pairs. Ties get their mean rank.

    The p-value counts permutations: all of them up to 7 pairs, else 9,999 random ones. It and the
    interval assume that pairs are independent.

    Raises:
      ValueError: the lengths differ.
    """
    if len(x) != len(y):
        raise ValueError(f"expected as many x as y, got {len(x)} and {len(y)}")
    count = len(x)
    if count < _MIN_PAIRS or len(set(x)) < 2 or len(set(y)) < 2:
        return Correlation(count, None, None, None)
    ranks = [_ranks(each) for each in (x, y)]
    rho = _pearson(ranks[0], ranks[1])
    # Fisher's z of a perfect correlation is infinite, and its interval has no width.
    interval = rank_interval(rho, count) if abs(rho) < 1 - 1e-9 else None
    return Correlation(count, rho, interval, _p_value(ranks[0], ranks[1]))


def rank_interval(rho: float, num_pairs: int) -> tuple[float, float]:
    """95 % interval of Spearman's rho, in (-1, 1), by Fisher's z.

    Its variance is (1 + rho^2 / 2) / (N - 3).
    Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations".
    """
    error = np.sqrt((1 + rho**2 / 2) / (num_pairs - 3))
    middle = np.arctanh(rho)
    low, high = np.tanh(middle + np.array([-1.96, 1.96]) * error)
    return float(low), float(high)


def _p_value(x: np.ndarray, y: np.ndarray) -> float:
    """How often |correlation| is at least as large when `y` is permuted."""
    centred = y - y.mean()
    if y.size <= _EXACT:
        permuted, extra = np.array(list(itertools.permutations(centred))), 0
    else:  # the pairing that was observed counts as one of the permutations
        tiled = np.tile(centred, (_PERMUTATIONS, 1))
        permuted, extra = np.random.default_rng(0).permuted(tiled, axis=1), 1
    covariances = np.abs(permuted @ (x - x.mean()))  # grow with the correlation
    observed = abs(centred @ (x - x.mean())) * (1 - 1e-9)
    return float((np.sum(covariances >= observed) + extra) / (len(permuted) + extra))


def _ranks(x: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks from 1, float64 [N]; ties get their mean rank."""
    from scipy import stats  # takes about a second, which most reports do not need

    return np.asarray(stats.rankdata(x))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))


class Within(NamedTuple):
    """Mean over groups of the rank correlation of each group's pairs."""

    num_groups: int  # that count
    rho: float | None  # None: no group counts
    interval: tuple[float, float] | None  # 95 % bootstrap over groups; None: fewer than five


_MIN_GROUPS = 5


def within_groups(pairs: Mapping[str, Sequence[tuple[float, float]]]) -> Within:
    """Rank correlation within groups, for example games; differences between groups do not enter.

    Groups with fewer than three pairs or without variation are left out.
    """
    found = []
    for group in pairs.values():
        x, y = (np.array(each) for each in zip(*group, strict=True))
        if len(group) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
            found.append(_pearson(_ranks(x), _ranks(y)))
    interval = nested_bootstrap([found]) if len(found) >= _MIN_GROUPS else None
    return Within(len(found), float(np.mean(found)) if found else None, interval)
