"""Fitted Q iteration with a linear head in closed form (Ernst et al. 2005).

Each iteration is one ridge regression an action, from features to bootstrapped targets, on all
interactions there are. No step size, and far fewer interactions than gradients need. With
function approximation and a maximum it may diverge: targets are bounded, and a fit of which the
bound is in use says so.
"""

from typing import NamedTuple

import numpy as np

from pvn.probes.ridge import PENALTIES, Ridge
from pvn.types import Interaction

DIVERGED_SHARE = 0.01  # of targets at the bound


class FqiFit(NamedTuple):
    """A head and how its fit went."""

    kernel: np.ndarray  # float32 [F, A]
    bias: np.ndarray  # float32 [A]
    held_out_r2: float  # of the last regression, on interactions not fitted
    penalty: float  # chosen on the held-out interactions, last iteration
    change: float  # of the targets in the last iteration, relative to their spread
    bounded_share: float  # of targets in the last iteration that were cut to the bound
    diverged: bool


def fit_fqi(
    batch: Interaction,
    held_out: np.ndarray,
    num_actions: int,
    *,
    bound: float,
    num_iterations: int,
    penalties: np.ndarray = PENALTIES,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> FqiFit:
    """Iterates Q <- ridge(r + discount max_a' Q(s', a')), one ridge an action.

    Args:
      batch: M interactions; features float32 [M, F].
      held_out: bool [M], interactions on which each iteration's penalty is chosen (the same one
        for all actions) and which are not fitted. At least one on each side.
      bound: targets are cut to [-bound, bound]; r_max / (1 - gamma) bounds every true value.
      num_iterations: K.
      penalties: to choose from.
      start: (kernel [F, A], bias [A]) to start from; None for zeros.
    """
    x, action = batch.features_tm1, batch.a_tm1
    fitted = [np.flatnonzero(~held_out & (action == a)) for a in range(num_actions)]
    tested = [np.flatnonzero(held_out & (action == a)) for a in range(num_actions)]
    ridges = [Ridge(x[rows]) if len(rows) else None for rows in fitted]
    x_tested = [x[rows] for rows in tested]
    num_tested = int(held_out.sum())

    kernel = np.zeros((x.shape[1], num_actions)) if start is None else start[0].astype(np.float64)
    bias = np.zeros(num_actions) if start is None else start[1].astype(np.float64)
    targets = np.zeros(len(action))
    for _ in range(num_iterations):
        q = batch.features_t @ kernel.astype(np.float32) + bias.astype(np.float32)[None]
        previous = targets
        raw = batch.r_t + batch.discount_t * q.max(axis=1)
        targets = np.clip(raw, -bound, bound).astype(np.float64)
        # An action that was never taken keeps what it had.
        weights = np.repeat(kernel[None], len(penalties), axis=0)
        intercepts = np.repeat(bias[None], len(penalties), axis=0)
        error = np.zeros(len(penalties))
        for a, ridge in enumerate(ridges):
            if ridge is not None:
                weights[..., a], intercepts[:, a] = ridge.solve(targets[fitted[a]], penalties)
            prediction = x_tested[a] @ weights[..., a].T.astype(np.float32) + intercepts[None, :, a]
            error += np.sum(np.square(prediction - targets[tested[a], None]), axis=0)
        best = int(np.argmin(error))
        kernel, bias = weights[best], intercepts[best]
    spread = max(float(np.std(targets)), 1e-12)
    bounded = float(np.mean(np.abs(raw) > bound))
    held_out_variance = max(float(np.var(targets[held_out])), 1e-12)
    finite = bool(np.isfinite(kernel).all() and np.isfinite(bias).all())
    return FqiFit(
        kernel=kernel.astype(np.float32),
        bias=bias.astype(np.float32),
        held_out_r2=float(1 - error[best] / num_tested / held_out_variance),
        penalty=float(penalties[best]),
        change=float(np.sqrt(np.mean(np.square(targets - previous))) / spread),
        bounded_share=bounded,
        diverged=not finite or bounded > DIVERGED_SHARE,
    )
