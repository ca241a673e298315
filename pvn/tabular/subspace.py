"""Compares the span of features [S, F] with other functions of the state."""

import numpy as np
import scipy.linalg


def basis(features: np.ndarray) -> np.ndarray:
    """Orthonormal basis float64 [S, R] of the span of features [S, F]; R: their numerical rank."""
    vectors, values, _ = scipy.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    return vectors[:, values > 1e-7 * values.max(initial=np.finfo(float).tiny)]


def principal_angle_cosines(features: np.ndarray, subspace: np.ndarray) -> np.ndarray:
    """Cosines of the principal angles (Björck & Golub 1973), float64 [d], descending.

    If all are 1, the span of the features contains the subspace. If the rank of the features is
    smaller than d, the missing cosines are 0.

    features: [S, F], whose columns may be dependent. subspace: [S, d], with orthonormal columns.
    """
    cosines = scipy.linalg.svdvals(basis(features).T @ subspace)
    missing = subspace.shape[1] - len(cosines)
    return np.minimum(np.append(cosines, np.zeros(max(missing, 0))), 1.0)


def project(features: np.ndarray, subspace: np.ndarray) -> np.ndarray:
    """float64 [S, d]: each column of `subspace` [S, d] projected on the span of features [S, F]."""
    vectors = basis(features)
    return vectors @ (vectors.T @ subspace)


def fit_error(features: np.ndarray, values: np.ndarray) -> float:
    """Error of the best linear fit of K value functions, [S, K], by features [S, F].

    It is the mean over value functions v of |v - fit|^2 / |v|^2. The fit has no intercept.
    """
    scaled = _unit(values)
    return float(1 - np.mean(np.sum(np.square(basis(features).T @ scaled), axis=0)))


def best_fit_error(rank: int, values: np.ndarray) -> float:
    """The smallest possible `fit_error` of `rank` features on values [S, K]."""
    squares = np.square(scipy.linalg.svdvals(_unit(values)))
    return float(np.sum(squares[rank:]) / np.sum(squares))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=0, keepdims=True)
