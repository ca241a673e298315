"""Ridge regression in closed form: one eigendecomposition serves all penalties and targets.

Features x and targets y of M rows. With means mu and m and standard deviations s, standardised
features z = (x - mu) / s, and for a penalty lambda:

    minimise over w, b:   1/M |y - Z w - b|^2 + lambda |w|^2
    solution:             w = (Z'Z/M + lambda I)^-1 Z'(y - m)/M,   b = m

With Z'Z/M = V diag(e) V', that is w = V diag(1 / (e + lambda)) V' Z'(y - m)/M. The decomposition
does not depend on lambda or y. On raw features the weights are w / s and the intercept is
m - mu' (w / s).
"""

import numpy as np
import scipy.linalg

from pvn.errors import UserError

PENALTIES = 10.0 ** np.arange(-8.0, 3.0)  # relative to features of variance 1


class Ridge:
    """Ridge regression on standardised features [M, F], with an intercept.

    scikit-learn's `Ridge(alpha)` on the same standardised features is penalty = alpha / M. Features
    that do not vary get weight 0.
    """

    def __init__(self, features: np.ndarray):
        """Factorises the covariance in O(M F^2 + F^3), in float64 from the products on.

        Raises:
          UserError: a feature is not finite, or its square is too large for its dtype.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            self._mean = features.mean(axis=0, dtype=np.float64)
            centred = features - self._mean.astype(features.dtype)[None]
            variance = np.mean(np.square(centred), axis=0, dtype=np.float64)
            # Rounding leaves a constant column a variance of about eps^2 of its square.
            varies = variance > 1e-10 * np.square(self._mean) + 1e-30
            self._scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0)
            self._centred = centred
            covariance = (centred.T @ centred).astype(np.float64) / len(features)
            covariance *= self._scale[:, None] * self._scale[None]
        if not np.isfinite(covariance).all() or not np.isfinite(variance).all():
            raise UserError(
                f"ridge regression: features are not finite or too large for {features.dtype}; "
                "did pretraining diverge?"
            )
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
