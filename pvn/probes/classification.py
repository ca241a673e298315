"""Scores of classifiers as statistics for a bootstrap over episodes (`pvn.probes.score`).

F1 is 2 tp / (2 tp + fp + fn). Macro F1 is its mean over the classes that occur among the true or
the predicted ones. Average precision is the sum over thresholds n of (R_n - R_(n-1)) P_n, with
precision P and recall R; equal scores are one threshold. These are scikit-learn's definitions.
"""

import numpy as np

from pvn.probes.score import Groups, Statistic, per_episode


def macro_f1(episode: Groups, target: np.ndarray, prediction: np.ndarray) -> Statistic:
    """Macro F1 of classes int [M] and predicted classes int [M]."""
    classes = np.union1d(target, prediction)[None]
    counts = _counts(episode, target[:, None] == classes, prediction[:, None] == classes)
    return lambda weights: _f1(counts, weights, mean=True)


def f1(episode: Groups, target: np.ndarray, prediction: np.ndarray) -> Statistic:
    """F1 of one class, the positives; target and prediction are bool [M]."""
    counts = _counts(episode, target[:, None], prediction[:, None])
    return lambda weights: _f1(counts, weights, mean=False)


def accuracy(episode: Groups, target: np.ndarray, prediction: np.ndarray) -> Statistic:
    """The share of rows whose class is predicted, [M] and [M]."""
    right = per_episode(episode, np.stack([target == prediction, np.ones(len(target), bool)], 1))

    def statistic(weights: np.ndarray) -> np.ndarray:
        sums = weights @ right
        with np.errstate(invalid="ignore"):
            return sums[:, :1] / sums[:, 1:]

    return statistic


def average_precision(episode: Groups, target: np.ndarray, score: np.ndarray) -> Statistic:
    """Average precision of scores float [M], where target, bool [M], is true."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # of equal scores
    positive, group = target[order].astype(np.float64), episode.of_row[order]

    def statistic(weights: np.ndarray) -> np.ndarray:
        weight = weights[:, group].astype(np.float64)
        found = np.cumsum(weight * positive[None], axis=1)[:, last]
        taken = np.cumsum(weight, axis=1)[:, last]
        precision = found / np.maximum(taken, 1)
        gained = np.diff(found, axis=1, prepend=0)
        with np.errstate(invalid="ignore"):
            return np.sum(precision * gained, axis=1, keepdims=True) / found[:, -1:]

    return statistic


def best_threshold(target: np.ndarray, score: np.ndarray) -> float:
    """The threshold for scores float [M] that gives the highest F1; `score >= threshold` is true.

    It lies halfway between two scores, or at the lowest score. Of equal ones it is the highest.
    """
    order = np.argsort(-score, kind="stable")
    score, found = score[order], np.cumsum(target[order])
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    values = 2 * found[last] / (last + 1 + found[-1])
    best = int(np.argmax(values))
    at = last[best]
    return float(score[at] if at == len(score) - 1 else (score[at] + score[at + 1]) / 2)


def _counts(episode: Groups, target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """True positives, and the positives among targets and predictions: float64 [2, E, C]."""
    hits = per_episode(episode, (target & prediction).astype(np.float64))
    return np.stack([hits, per_episode(episode, target.astype(np.float64) + prediction)])


def _f1(counts: np.ndarray, weights: np.ndarray, *, mean: bool) -> np.ndarray:
    hits, positives = weights @ counts[0], weights @ counts[1]
    with np.errstate(invalid="ignore"):
        values = 2 * hits / positives  # positives: 2 tp + fp + fn
        if not mean:
            return values
        there = positives > 0
        return np.sum(np.where(there, values, 0), axis=1, keepdims=True) / np.sum(
            there, axis=1, keepdims=True
        )
