"""Aggregates of the scores of runs over games.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
section 4. A run is one seed in one game. Every function takes one array [..., R] for each game,
where R is the number of runs and may differ between games, and reduces the last axis and the games.
Leading axes, such as that of resamples, are those of the result.
"""

from collections.abc import Sequence

import numpy as np

Games = Sequence[np.ndarray]


def interquartile_mean(games: Games) -> np.ndarray:
    """Mean without the lowest and the highest quarter of all runs, each count rounded down.

    For fewer than four runs it is the plain mean.
    """
    ordered = np.sort(np.concatenate(games, axis=-1), axis=-1)
    cut = ordered.shape[-1] // 4
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1))


def _game_means(games: Games) -> np.ndarray:
    return np.stack([runs.mean(axis=-1) for runs in games], axis=-1)


def median(games: Games) -> np.ndarray:
    """Median over games of each game's mean."""
    return np.asarray(np.median(_game_means(games), axis=-1))


def mean(games: Games) -> np.ndarray:
    """Mean over games of each game's mean."""
    return np.asarray(_game_means(games).mean(axis=-1))


def optimality_gap(games: Games) -> np.ndarray:
    """How far scores fall short of 1: mean of 1 - min(score, 1). Less is better."""
    return mean([1 - np.minimum(runs, 1) for runs in games])


def score_distribution(games: Games, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs with a score above each threshold [K]: mean over games, [..., K].

    This is the performance profile of runs (section 4.2).
    """
    return mean([np.stack([runs > tau for tau in thresholds], axis=-2) for runs in games])


def probability_of_improvement(ours: Games, theirs: Games) -> np.ndarray:
    """Probability that a run of ours beats a run of theirs in the same game, mean over games.

    For each game it is the Mann-Whitney U statistic divided by the number of pairs of runs; a tie
    counts as half a win (section 4.3).
    """
    shares = []
    for x, y in zip(ours, theirs, strict=True):
        difference = x[..., :, None] - y[..., None, :]
        shares.append((np.sign(difference).mean(axis=(-2, -1)) + 1) / 2)
    return np.asarray(np.mean(shares, axis=0))
