"""How near the span of features [S, F] is to another subspace of functions of the state."""

import numpy as np
import scipy.linalg


def basis(features: np.ndarray) -> np.ndarray:
    """Orthonormal basis float64 [S, R] of the span of features [S, F], R their numerical rank."""
    vectors, values, _ = scipy.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    return vectors[:, values > 1e-7 * values.max(initial=np.finfo(float).tiny)]


def principal_angle_cosines(features: np.ndarray, subspace: np.ndarray) -> np.ndarray:
    """Cosines of the principal angles, float64 [d], falling; 0 for directions that F lacks.

    All 1: the features' span holds the subspace. Björck & Golub (1973).

    features: [S, F], any basis or none. subspace: [S, d], orthonormal columns.
    """
    cosines = scipy.linalg.svdvals(basis(features).T @ subspace)
    missing = subspace.shape[1] - len(cosines)
    return np.minimum(np.append(cosines, np.zeros(max(missing, 0))), 1.0)


def project(features: np.ndarray, subspace: np.ndarray) -> np.ndarray:
    """[S, d]: each column of `subspace` [S, d] projected on the span of features [S, F]."""
    vectors = basis(features)
    return vectors @ (vectors.T @ subspace)


def fit_error(features: np.ndarray, values: np.ndarray) -> float:
    """Share of the squares of values [S, K] that their best linear fits by features [S, F] leave.

    Without intercept, each value function scaled to length 1: mean of |v - fit|^2 / |v|^2.
    """
    scaled = _unit(values)
    return float(1 - np.mean(np.sum(np.square(basis(features).T @ scaled), axis=0)))


def best_fit_error(rank: int, values: np.ndarray) -> float:
    """The least `fit_error` that any `rank` features can have on values [S, K]."""
    squares = np.square(scipy.linalg.svdvals(_unit(values)))
    return float(np.sum(squares[rank:]) / np.sum(squares))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=0, keepdims=True)
