"""Ridge regression in closed form: one eigendecomposition serves all penalties and targets.

Features x [M, F] have means mu [F] and standard deviations s [F]. Targets y [M] have mean m. Z
holds the standardised features z = (x - mu) / s. For a penalty lambda:

    minimise over w, b:   1/M |y - Z w - b|^2 + lambda |w|^2
    solution:             w = (Z'Z/M + lambda I)^-1 Z'(y - m)/M,   b = m
    the same (dual):      w = Z'(ZZ'/M + lambda I)^-1 (y - m)/M

The smaller of the two matrices is decomposed: Z'Z/M = V diag(e) V' if F <= M, which gives
w = V diag(1 / (e + lambda)) V' Z'(y - m)/M; else ZZ'/M = U diag(e) U', which gives
w = Z' U diag(1 / (e + lambda)) U'(y - m)/M. The decomposition does not depend on lambda or y. On
raw features the weights are w / s and the intercept is m - mu' (w / s).
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from pvn.errors import UserError

PENALTIES = 10.0 ** np.arange(-8.0, 3.0)  # for features of variance 1


class Moments(NamedTuple):
    """What a regression needs to know of its targets."""

    mean: np.ndarray  # float64 [K]
    projected: np.ndarray  # float64 [R, K], in the basis of the decomposition


class Ridge:
    """Ridge regression on standardised features [M, F], with an intercept.

    scikit-learn's `Ridge(alpha)` on the same standardised features corresponds to
    penalty = alpha / M. Features that do not vary get weight 0.
    """

    def __init__(self, features: np.ndarray):
        """Factorises the smaller matrix in O(M F min(M, F) + min(M, F)^3).

        Products with the features are computed in their dtype, everything else in float64.

        Args:
          features: float [M, F].

        Raises:
          UserError: a feature is not finite, or its square is too large for its dtype.
        """
        count, width = features.shape
        self._primal = width <= count
        with np.errstate(over="ignore", invalid="ignore"):
            self._mean = features.mean(axis=0, dtype=np.float64)
            self._z = features - self._mean.astype(features.dtype)[None]
            variance = np.mean(np.square(self._z), axis=0, dtype=np.float64)
            # Rounding gives a constant column a variance of about eps^2 times its square.
            varies = variance > 1e-10 * np.square(self._mean) + 1e-30
            self._scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0)
            self._z *= self._scale.astype(features.dtype)[None]
            matrix = self._z.T @ self._z if self._primal else self._z @ self._z.T
            matrix = matrix.astype(np.float64) / count
        if not np.isfinite(matrix).all() or not np.isfinite(variance).all():
            raise UserError(
                f"ridge regression: features are not finite or too large for {features.dtype}; "
                "did pretraining diverge?"
            )
        self._values, self._vectors = scipy.linalg.eigh(matrix, driver="evd")
        self._values = np.maximum(self._values, 0)

    def moments(self, targets: np.ndarray) -> Moments:
        """The moments of targets [M, K], for `weights`."""
        mean = targets.mean(axis=0, dtype=np.float64)
        residual = targets - mean[None]
        if self._primal:
            residual = (self._z.T @ residual.astype(self._z.dtype)).astype(np.float64)
        return Moments(mean, self._vectors.T @ residual / len(targets))

    def weights(self, moments: Moments, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights float64 [F, K] and intercepts float64 [K] of one penalty, for raw features."""
        weights = self._vectors @ (moments.projected / (self._values + penalty)[:, None])
        if not self._primal:
            weights = (self._z.T @ weights.astype(self._z.dtype)).astype(np.float64)
        weights = weights * self._scale[:, None]
        return weights, moments.mean - self._mean @ weights

    def freedom(self, penalty: float) -> float:
        """The degrees of freedom of a regression with intercept, the trace of its hat matrix."""
        return 1 + float(np.sum(self._values / (self._values + penalty)))

    def solve(self, targets: np.ndarray, penalties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights float64 [P, F] and intercepts float64 [P] for targets [M] and penalties [P].

        They apply to the raw features: y = features @ weights[p] + intercepts[p].
        """
        moments = self.moments(targets[:, None])
        solved = [self.weights(moments, float(penalty)) for penalty in penalties]
        return (
            np.stack([weights[:, 0] for weights, _ in solved]),
            np.stack([intercept[0] for _, intercept in solved]),
        )
