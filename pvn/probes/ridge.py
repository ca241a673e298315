"""Ridge regression in closed form: one eigendecomposition serves all penalties and targets.

Features x [M, F] have means mu [F] and standard deviations s [F]. Targets y [M] have mean m. Z
holds the standardised features z = (x - mu) / s. For a penalty lambda:

    minimise over w, b:   1/M |y - Z w - b|^2 + lambda |w|^2
    solution:             w = (Z'Z/M + lambda I)^-1 Z'(y - m)/M,   b = m

With Z'Z/M = V diag(e) V', that is w = V diag(1 / (e + lambda)) V' Z'(y - m)/M. The decomposition
does not depend on lambda or y. On raw features the weights are w / s and the intercept is
m - mu' (w / s).
"""

import numpy as np
import scipy.linalg

from pvn.errors import UserError

PENALTIES = 10.0 ** np.arange(-8.0, 3.0)  # for features of variance 1


class Ridge:
    """Ridge regression on standardised features [M, F], with an intercept.

    scikit-learn's `Ridge(alpha)` on the same standardised features corresponds to
    penalty = alpha / M. Features that do not vary get weight 0.
    """

    def __init__(self, features: np.ndarray):
        """Factorises the covariance in O(M F^2 + F^3).

        Z'Z is computed in the dtype of the features, everything after it in float64.

        Args:
          features: float [M, F].

        Raises:
          UserError: a feature is not finite, or its square is too large for its dtype.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            self._mean = features.mean(axis=0, dtype=np.float64)
            centred = features - self._mean.astype(features.dtype)[None]
            variance = np.mean(np.square(centred), axis=0, dtype=np.float64)
            # Rounding gives a constant column a variance of about eps^2 times its square.
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
        """Weights float64 [P, F] and intercepts float64 [P] for targets [M] and penalties [P].

        They apply to the raw features: y = features @ weights[p] + intercepts[p].
        """
        mean = targets.mean(dtype=np.float64)
        residual = (targets - mean).astype(self._centred.dtype)
        moment = (self._centred.T @ residual).astype(np.float64) / len(targets)
        projected = self._vectors.T @ (moment * self._scale)
        shrunk = projected[None] / (self._values[None] + penalties[:, None])
        weights = (shrunk @ self._vectors.T) * self._scale[None]
        return weights, mean - weights @ self._mean
