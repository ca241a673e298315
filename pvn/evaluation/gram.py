"""Ridge regression for each of G groups of rows, from moments that only new rows are added to.

Of the M rows of all groups, features x [F] have means mu and standard deviations s; the
standardised features are z = (x - mu) / s. Group g has M_g rows with mean targets m_g and mean
standardised features z_g. With Z_g its rows of z - z_g and a penalty lambda:

    minimise over w, b:   1/M_g |y - z w - b|^2 + lambda |w - w_0|^2
    solution:             (G_g + lambda I) w = Z_g'(y - m_g)/M_g + lambda w_0,   b = m_g - z_g'w
    where                 G_g = Z_g'Z_g / M_g = V diag(e) V'

G_g depends on neither targets nor penalty: one factorisation serves all regressions. The prior w_0
is zero in ordinary ridge regression; Levine et al. (2017, "Shallow updates for deep reinforcement
learning", section 4) use earlier weights.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

_BLOCK_ROWS = 4096  # about as many rows are added at a time


class Moments(NamedTuple):
    """Sums over the rows x [F] of each of G groups, in float64."""

    number: np.ndarray  # [G], of rows
    total: np.ndarray  # [G, F], sum of x
    square: np.ndarray  # [G, F, F], sum of x x'


def zero_moments(num_groups: int, num_features: int) -> Moments:
    """The moments of no rows."""
    return Moments(
        np.zeros(num_groups),
        np.zeros((num_groups, num_features)),
        np.zeros((num_groups, num_features, num_features)),
    )


def add_rows(moments: Moments, features: np.ndarray, group: np.ndarray) -> None:
    """Adds rows [M, F] of groups int [M] to the moments, in place. Group -1: no group."""
    for g in range(len(moments.number)):
        x = features[group == g].astype(np.float64)
        moments.number[g] += len(x)
        moments.total[g] += x.sum(axis=0)
        if len(x):
            moments.square[g] += x.T @ x


class ReplayMoments:
    """The moments of the rows of a replay. An update costs only the rows that are new.

    Rows are added in blocks that start at fixed timesteps. The sums therefore have the same bits
    however often they were updated, and also after a restart, which computes them again. If
    timesteps were overwritten, all sums are computed again: to subtract rows loses precision, and
    moments of each block need several times the memory of the replay.
    """

    def __init__(self, num_groups: int, num_features: int, num_envs: int):
        self._block = max(1, _BLOCK_ROWS // num_envs)  # timesteps
        self._shape = (num_groups, num_features)
        self._first, self._end = 0, 0  # timesteps in the sums: first <= t < end
        self._moments = zero_moments(*self._shape)

    def update(self, first: int, features: np.ndarray, group: np.ndarray) -> Moments:
        """The moments of all timesteps from `first` on.

        Args:
          first: the oldest timestep of the replay. If it is that of the last update, rows that were
            there are the same as then, except those of the last timestep.
          features: float32 [T, E, F].
          group: int [T, E], -1 for rows of no group.
        """
        if first != self._first or self._end > first + len(group) - 1:
            self._first = self._end = first
            self._moments = zero_moments(*self._shape)
        end = first + len(group)
        while (after := (self._end // self._block + 1) * self._block) < end:
            self._add(self._moments, self._end, after, features, group)
            self._end = after
        whole = Moments(*(array.copy() for array in self._moments))
        self._add(whole, self._end, end, features, group)
        return whole

    def _add(
        self, moments: Moments, start: int, end: int, features: np.ndarray, group: np.ndarray
    ) -> None:
        rows = slice(start - self._first, end - self._first)
        add_rows(moments, features[rows].reshape(-1, self._shape[1]), group[rows].reshape(-1))


class GroupRidges:
    """Factorised ridge regressions of G groups on features that all groups standardise together.

    scikit-learn's `Ridge(alpha)` on the rows of one group, standardised with the mean and scale of
    all groups' rows, corresponds to penalty = alpha / M_g. Features that do not vary get weight 0.
    """

    def __init__(self, moments: Moments):
        """Factorises in O(G F^3).

        moments: of finite features.
        """
        self.count = moments.number
        rows = max(1.0, self.count.sum())
        self.mean = moments.total.sum(axis=0) / rows
        second = np.einsum("gff->f", moments.square) / rows
        variance = second - np.square(self.mean)
        # Rounding gives a constant feature a variance of about eps times its square.
        varies = variance > 1e-10 * second + 1e-30
        self.scale = np.where(varies, np.sqrt(np.where(varies, variance, 1)), 0)
        self._inverse = np.where(varies, 1 / np.where(varies, self.scale, 1), 0)
        self.group_mean = np.zeros_like(moments.total)  # of z, [G, F]
        self._values = np.zeros_like(moments.total)
        self._vectors = np.zeros_like(moments.square)
        for g in np.flatnonzero(self.count):
            mean = moments.total[g] / self.count[g]
            covariance = moments.square[g] / self.count[g] - np.outer(mean, mean)
            covariance *= self._inverse[:, None] * self._inverse[None]
            self.group_mean[g] = (mean - self.mean) * self._inverse
            values, self._vectors[g] = scipy.linalg.eigh(covariance, driver="evd")
            self._values[g] = np.maximum(values, 0)

    def standardise(self, features: np.ndarray) -> None:
        """Replaces features x [N, F] by z, in place and in their dtype."""
        features -= self.mean.astype(features.dtype)[None]
        features *= self._inverse.astype(features.dtype)[None]

    def to_raw(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel [..., F, A] and bias [..., A] for x, from those for z."""
        raw = kernel * self._inverse[:, None]
        return raw, bias - np.einsum("f,...fa->...a", self.mean, raw)

    def from_raw(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel [..., F, A] and bias [..., A] for z, from those for x.

        Features that do not vary become part of the bias.
        """
        return kernel * self.scale[:, None], bias + np.einsum("f,...fa->...a", self.mean, kernel)

    def solve(
        self,
        group: int,
        moment: np.ndarray,
        mean: float,
        penalties: np.ndarray,
        prior: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights float64 [P, F] and intercepts float64 [P] for z, for penalties [P].

        Args:
          group: g, a group with rows.
          moment: Z_g'(y - m_g) / M_g, float64 [F].
          mean: m_g.
          penalties: above 0.
          prior: w_0 float64 [F], the weights that the penalty draws to; None for zeros.
        """
        vectors, values = self._vectors[group], self._values[group]
        projected = (vectors.T @ moment)[None]
        if prior is not None:
            projected = projected + penalties[:, None] * (vectors.T @ prior)[None]
        weights = (projected / (values[None] + penalties[:, None])) @ vectors.T
        return weights, mean - weights @ self.group_mean[group]
