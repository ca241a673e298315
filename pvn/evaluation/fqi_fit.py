"""Fitted Q iteration with a linear head in closed form (Ernst et al. 2005).

A fit is a few ridge regressions for each action, on all rows of the replay. The first one
regresses the Monte Carlo return, which is the value of the policy that played (Laidlaw et al. 2023,
"Bridging RL theory and practice with the effective horizon": to act greedily on it, or on the
result of a few sweeps, solves many Atari games). It does not bootstrap, so it cannot diverge. Each
sweep then regresses r + gamma^n max_a' Q(s', a').

Sweeps may diverge: they combine function approximation, bootstrapping and a maximum. Targets are
therefore clipped to a bound. A fit has diverged if more than `DIVERGED_SHARE` of its last targets
are clipped, or if a weight is not finite.
"""

from typing import NamedTuple

import numpy as np

from pvn.errors import UserError
from pvn.evaluation.gram import GroupRidges, ReplayMoments
from pvn.evaluation.returns import Returns, compute_returns
from pvn.evaluation.state import State
from pvn.ridge import PENALTIES

DIVERGED_SHARE = 0.01  # a fit has diverged if a larger share of its targets is clipped
HELD_OUT = -1  # the half of rows that are not fitted


class Heads(NamedTuple):
    """H heads, one for each half of the rows. The agent plays with their mean."""

    kernel: np.ndarray  # float64 [H, F, A]
    bias: np.ndarray  # float64 [H, A]


class Plan(NamedTuple):
    """What to regress. To vary it costs no new factorisation."""

    sweeps: int = 1
    start: str = "monte_carlo"  # before the first sweep; or "previous"
    prior: str = "zero"  # what the penalty draws weights to; or "previous"
    max_residual: float = 0.0  # of a sweep's targets; 0: no limit
    discount: float = 0.99
    n_step: int = 1
    bound: float = np.inf  # targets are clipped to [-bound, bound]
    penalties: tuple[float, ...] = tuple(PENALTIES)  # to choose from


class FqiFit(NamedTuple):
    """Fitted heads and statistics of the last regression."""

    heads: Heads
    held_out_r2: float  # R^2 on the held-out rows
    penalty: float  # chosen on the held-out rows
    # RMS change of the targets since the regression before (from 0 in the first one), divided by
    # their standard deviation.
    change: float
    bounded_share: float  # share of the targets that were clipped to the bound
    diverged: bool


class FitRows:
    """All rows of a replay, standardised and factorised: what is common to fits of any `Plan`."""

    def __init__(
        self, rows: State, half: np.ndarray, num_actions: int, moments: ReplayMoments, first: int
    ):
        """Takes O(A F^3), and O(F^2) for each row that is new in `moments`.

        Args:
          rows: `Replay.rows`, T timesteps of E environments. The features, float32
            [T, E, F], are overwritten.
          half: int [T, E]: the rows of half h = 0, 1, ... fit head h; `HELD_OUT`: not fitted.
          num_actions: A.
          moments: of H * A groups; keeps the sums for the next fit.
          first: the timestep of `rows[0]`.

        Raises:
          UserError: a feature is not finite, or the squares of the features overflow.
        """
        features = rows["features"]
        _check_squares(features)
        self.rows, self.num_actions = rows, num_actions
        self.action = np.asarray(rows["action"], np.int64).reshape(-1)
        usable = compute_returns(rows, 0.5, 1).usable
        held_out = (half == HELD_OUT) & usable
        group = np.where(usable & (half != HELD_OUT), half * num_actions + rows["action"], -1)
        self.ridges = GroupRidges(moments.update(first, features, group))
        self.num_halves = len(self.ridges.count) // num_actions
        self.z = features.reshape(-1, features.shape[2])
        self.ridges.standardise(self.z)
        self.usable, self.group = np.flatnonzero(usable), group.reshape(-1)
        self.held_out = [
            np.flatnonzero(held_out.reshape(-1) & (self.action == a)) for a in range(num_actions)
        ]
        self.z_held_out = [self.z[at] for at in self.held_out]

    def zeros(self) -> Heads:
        """Heads whose values are 0."""
        shape = (self.num_halves, self.z.shape[1], self.num_actions)
        return Heads(np.zeros(shape), np.zeros((shape[0], shape[2])))

    def values(self, heads: Heads) -> np.ndarray:
        """Q of every row, float32 [H, N, A]."""
        return np.stack(
            [
                self.z @ kernel.astype(np.float32) + bias.astype(np.float32)[None]
                for kernel, bias in zip(*heads, strict=True)
            ]
        )

    def values_taken(self, heads: Heads) -> np.ndarray:
        """Q of every row's own action, float32 [H, N]."""
        return np.take_along_axis(self.values(heads), self.action[None, :, None], 2)[..., 0]


def _check_squares(features: np.ndarray) -> None:
    """Raises `UserError` unless the squares of the features have a finite sum in float32."""
    flat = features.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(np.vdot(flat, flat))
    if not finite:
        raise UserError(
            f"fqi: features are as large as {np.max(np.abs(features)):g}, so that their squares "
            "overflow; scale the features down"
        )


def fit_fqi(rows: FitRows, plan: Plan, previous: Heads | None) -> FqiFit:
    """Fits heads to the rows as planned. For many plans, call it with the same `rows`.

    The Monte Carlo return of an episode that has not ended is unknown. It is the sum of the rewards
    so far, plus gamma^k Q(s, a) by the previous heads at the last row (s, a), k timesteps later.
    There is no maximum in it, so it is a value of the policy that played. The first fit has no
    previous heads: it regresses the sums alone, and then again with the values of these heads.

    Args:
      previous: the heads of the last fit, for the features as they are; None for the first fit.
    """
    heads = rows.zeros() if previous is None else Heads(*rows.ridges.from_raw(*previous))
    targets: np.ndarray | None = None
    for number in range(0 if plan.start == "monte_carlo" else 1, plan.sweeps + 1):
        last = targets
        if number == 0:
            targets = _monte_carlo_targets(rows, plan, heads)
            if previous is None:
                bounded_sums = np.clip(targets, -plan.bound, plan.bound)
                of_sums, *_ = _regress(rows, plan, heads, bounded_sums)
                targets = _monte_carlo_targets(rows, plan, of_sums)
        else:
            targets = _sweep_targets(rows, plan, heads)
        bounded = float(np.mean(np.abs(targets[:, rows.usable]) > plan.bound))
        targets = np.clip(targets, -plan.bound, plan.bound)
        fitted = targets
        if number and plan.max_residual:
            own = rows.values_taken(heads)
            step = np.clip(targets - own, -plan.max_residual, plan.max_residual)
            fitted = own + step
        heads, error, penalty = _regress(rows, plan, heads, fitted)
    assert targets is not None
    mean, held_out = targets.mean(axis=0), np.concatenate(rows.held_out)
    if fitted is not targets and len(held_out):  # R^2 of the targets, not of the steps to them
        own = rows.values_taken(heads).mean(axis=0)
        error = float(np.mean(np.square(own[held_out] - mean[held_out])))
    kernel, bias = rows.ridges.to_raw(*heads)
    finite = bool(np.isfinite(kernel).all() and np.isfinite(bias).all())
    variance = float(np.var(mean[held_out])) if len(held_out) else 0.0
    change = mean - (0 if last is None else last.mean(axis=0))
    spread = max(float(np.std(mean[rows.usable])), 1e-12)
    return FqiFit(
        heads=Heads(kernel, bias),
        held_out_r2=1 - error / variance if variance > 1e-12 else 0.0,
        penalty=penalty,
        change=float(np.sqrt(np.mean(np.square(change[rows.usable])))) / spread,
        bounded_share=bounded,
        diverged=not finite or bounded > DIVERGED_SHARE,
    )


def _bootstrap(returns: Returns, value: np.ndarray) -> np.ndarray:
    """Targets [N], from values [N] of all rows."""
    num_envs = returns.at.shape[1]
    at = returns.at * num_envs + np.arange(num_envs)[None]
    return (returns.reward + returns.discount * value[at]).reshape(-1)


def _monte_carlo_targets(rows: FitRows, plan: Plan, heads: Heads) -> np.ndarray:
    """[H, N]: returns to the end of the episode."""
    returns = compute_returns(rows.rows, plan.discount, None)
    values = rows.values_taken(heads)
    return np.stack([_bootstrap(returns, value) for value in values])


def _sweep_targets(rows: FitRows, plan: Plan, heads: Heads) -> np.ndarray:
    """[H, N]: n-step returns and the value of the greedy action afterwards.

    With two halves (double estimation, van Hasselt 2010) the head of one half chooses the action,
    and that of the other half, which was fitted to other rows, gives its value.
    """
    returns = compute_returns(rows.rows, plan.discount, plan.n_step)
    q = rows.values(heads)
    greedy = q.argmax(axis=2)
    other = q[::-1]
    values = np.take_along_axis(other, greedy[..., None], axis=2)[..., 0]
    return np.stack([_bootstrap(returns, value) for value in values])


def _regress(
    rows: FitRows, plan: Plan, heads: Heads, targets: np.ndarray
) -> tuple[Heads, float, float]:
    """One ridge regression for each half and action.

    Args:
      heads: before the regression, for standardised features. An action without rows keeps them.
      targets: [H, N]; the rows of half h fit head h to targets[h].

    Returns:
      The heads; their mean squared error on the held-out rows; and the penalty, which has the
      smallest such error and is the same for all actions.
    """
    penalties = np.array(plan.penalties)
    num_groups = rows.num_halves * rows.num_actions
    columns = np.zeros((len(rows.z), num_groups), np.float32)
    means = np.zeros(num_groups)
    for g in np.flatnonzero(rows.ridges.count):
        at = np.flatnonzero(rows.group == g)
        y = targets[g // rows.num_actions, at]
        means[g] = y.mean()
        columns[at, g] = y - means[g]
    moments = (rows.z.T @ columns).astype(np.float64)
    kernel = np.repeat(heads.kernel[None], len(penalties), axis=0)
    bias = np.repeat(heads.bias[None], len(penalties), axis=0)
    for g in np.flatnonzero(rows.ridges.count):
        h, a = divmod(int(g), rows.num_actions)
        prior = heads.kernel[h, :, a] if plan.prior == "previous" else None
        moment = moments[:, g] / rows.ridges.count[g]
        kernel[:, h, :, a], bias[:, h, a] = rows.ridges.solve(
            int(g), moment, means[g], penalties, prior
        )
    error = np.zeros(len(penalties))
    mean_kernel, mean_bias, mean_targets = kernel.mean(axis=1), bias.mean(axis=1), targets.mean(0)
    for a, (at, z) in enumerate(zip(rows.held_out, rows.z_held_out, strict=True)):
        predicted = z @ mean_kernel[..., a].T.astype(np.float32) + mean_bias[None, :, a]
        error += np.sum(np.square(predicted - mean_targets[at, None]), axis=0)
    best = int(np.argmin(error))
    mean_error = float(error[best]) / max(1, sum(len(at) for at in rows.held_out))
    return Heads(kernel[best], bias[best]), mean_error, float(penalties[best])
