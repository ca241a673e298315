"""Ridge regression in closed form: one eigendecomposition serves all penalties and targets."""

import numpy as np
import scipy.linalg

PENALTIES = 10.0 ** np.arange(-8.0, 3.0)  # relative to features of variance 1


class Ridge:
    """Ridge regression on standardised features [M, F], with an intercept.

    Minimises mean (y - x w - b)^2 + penalty |w|^2, x with mean 0 and variance 1. (scikit-learn's
    `Ridge(alpha)` on the same x is penalty = alpha / M.) Features that do not vary get weight 0.
    """

    def __init__(self, features: np.ndarray):
        """Factorises the covariance: O(M F^2 + F^3), float64 from the products on."""
        self._mean = features.mean(axis=0, dtype=np.float64)
        centred = features - self._mean.astype(features.dtype)[None]
        variance = np.mean(np.square(centred), axis=0, dtype=np.float64)
        # Rounding leaves a constant column a variance of about eps^2 of its square.
        varies = variance > 1e-10 * np.square(self._mean) + 1e-30
        self._scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0)
        self._centred = centred
        covariance = (centred.T @ centred).astype(np.float64) / len(features)
        covariance *= self._scale[:, None] * self._scale[None]
        self._values, self._vectors = scipy.linalg.eigh(covariance, driver="evd")
        self._values = np.maximum(self._values, 0)

    def solve(self, targets: np.ndarray, penalties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights float64 [P, F] and intercepts [P] for targets [M], one row a penalty.

        They apply to the raw features: y = features @ weights + intercept.
        """
        mean = targets.mean(dtype=np.float64)
        residual = (targets - mean).astype(self._centred.dtype)
        moment = (self._centred.T @ residual).astype(np.float64) / len(targets)
        projected = self._vectors.T @ (moment * self._scale)
        shrunk = projected[None] / (self._values[None] + penalties[:, None])
        weights = (shrunk @ self._vectors.T) * self._scale[None]
        return weights, mean - weights @ self._mean
