"""Diagnostics of any features: what they have lost, without a target.

All functions take features of M states, float [M, F], as NumPy arrays.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

DELTA = 0.01  # of the effective rank
PENALTY = 1e-3  # of the effective dimension, relative to the features' mean variance


def effective_rank(features: np.ndarray, delta: float = DELTA) -> int:
    """The number of largest singular values that make up 1 - delta of the sum of all.

    The srank of Kumar et al., "Implicit Under-Parameterization Inhibits Data-Efficient Deep
    Reinforcement Learning" (2021). It is 0 if all features are 0, and at most min(M, F).
    """
    values = np.linalg.svd(features, compute_uv=False)
    if values[0] == 0:
        return 0
    return int(np.searchsorted(np.cumsum(values) / np.sum(values), 1 - delta) + 1)


def dead_units(features: np.ndarray) -> int:
    """The number of features that are 0 in every state."""
    return int(np.sum(~np.any(features, axis=0)))


def effective_dimension(features: np.ndarray, penalty: float = PENALTY) -> float:
    """M times the largest leverage score of a ridge regression on the features.

    With centred features x_i, their covariance C = X'X/M and lambda = penalty * trace(C) / F, the
    score of state i is h_i = (1 + x_i' (C + lambda I)^-1 x_i) / M; the 1 is the intercept's. It is
    the derivative of the state's prediction with respect to its own target. M max h_i lies between
    1 and M. A large one says that some state shares its features with few others, so that its value
    must be learned from its own samples. Without the penalty it is the effective dimension of Le
    Lan et al., "On the Generalization of Representations in Reinforcement Learning" (2022), for
    uniformly drawn states. Features are not standardised: a unit that is rarely on would else
    decide alone. It is 1 if no feature varies.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)[None]
    matrix = centred.T @ centred / len(features)
    scale = np.trace(matrix) / len(matrix)
    if scale == 0:
        return 1.0
    matrix[np.diag_indices_from(matrix)] += penalty * scale
    lower = scipy.linalg.cholesky(matrix, lower=True)
    solved = scipy.linalg.solve_triangular(lower, centred.T, lower=True)
    return float(1 + np.max(np.sum(np.square(solved), axis=0)))


def norms(features: np.ndarray) -> np.ndarray:
    """The Euclidean norm of each state's features, float64 [M]."""
    return np.linalg.norm(features.astype(np.float64), axis=1)


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    """Linear CKA of two sets of features of the same states, [M, F] and [M, G].

    |X'Y|^2 / (|X'X| |Y'Y|) in Frobenius norms, with columns centred: 1 if the features agree up to
    rotation and scale, 0 if they are uncorrelated. NaN if one set does not vary. Kornblith et al.,
    "Similarity of Neural Network Representations Revisited" (2019).
    """
    one, other = (x.astype(np.float64) - x.mean(axis=0, dtype=np.float64) for x in (one, other))
    if max(one.shape[1], other.shape[1]) <= len(one):
        cross = np.sum(np.square(one.T @ other))
        sizes = [float(np.linalg.norm(x.T @ x)) for x in (one, other)]
    else:
        left, right = one @ one.T, other @ other.T
        cross, sizes = np.sum(left * right), [float(np.linalg.norm(x)) for x in (left, right)]
    return float(cross / (sizes[0] * sizes[1])) if sizes[0] * sizes[1] > 0 else float("nan")


class Measure(NamedTuple):
    """One diagnostic of features."""

    metric: str
    value: float
    settings: dict[str, Any]  # what the value depends on besides the features


def measure(features: np.ndarray) -> list[Measure]:
    """All diagnostics of one set of features."""
    states = {"states": len(features)}
    lengths = norms(features)
    return [
        Measure("srank", float(effective_rank(features)), states | {"delta": DELTA}),
        Measure("dead_units", float(dead_units(features)), states),
        Measure(
            "effective_dimension", effective_dimension(features), states | {"penalty": PENALTY}
        ),
        Measure("norm_mean", float(lengths.mean()), states),
        Measure("norm_max", float(lengths.max()), states),
    ]
