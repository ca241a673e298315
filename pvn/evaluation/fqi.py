"""Fitted Q iteration with a linear head in closed form (Ernst et al. 2005).

Each iteration fits one ridge regression for each action, from features to bootstrapped targets, on
all interactions in the replay. The method has no step size. It needs far fewer interactions than
gradient descent. It may diverge, because it combines function approximation, bootstrapping and a
maximum. Targets are therefore clipped to a bound. A fit has diverged if more than `DIVERGED_SHARE`
of its last targets are clipped, or if a weight is not finite.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.evaluation.head import LinearHead, zero_head
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.replay import FeatureReplay
from pvn.evaluation.state import State
from pvn.fields import real, whole
from pvn.ridge import PENALTIES, Ridge
from pvn.types import Interaction

DIVERGED_SHARE = 0.01  # a fit has diverged if a larger share of its targets is clipped

_HELD_OUT_STEPS = 64  # consecutive timesteps of one environment; held out or fitted as a whole


class FqiSettings(NamedTuple):
    """Settings of `FqiLearner`."""

    refit_every: Annotated[int, whole(1)] = 10_000  # agent steps
    iterations: Annotated[int, whole(1)] = 30  # regressions in one fit
    held_out: Annotated[float, real(0, 1, closed="()")] = 0.2  # share used to choose the penalty


class FqiFit(NamedTuple):
    """A fitted head and statistics of its fit."""

    head: LinearHead  # NumPy arrays
    held_out_r2: float  # R^2 of the last iteration on the held-out interactions
    penalty: float  # the last iteration chose it on the held-out interactions
    change: float  # RMS change of the targets in the last iteration / their standard deviation
    bounded_share: float  # share of the last iteration's targets that were clipped to the bound
    diverged: bool


def fit_fqi(
    batch: Interaction,
    held_out: np.ndarray,
    num_actions: int,
    *,
    bound: float,
    num_iterations: int,
    penalties: np.ndarray = PENALTIES,
    start: LinearHead | None = None,
) -> FqiFit:
    """Iterates Q <- ridge(r + discount max_a' Q(s', a')), with one ridge for each action.

    Args:
      batch: M interactions; features float32 [M, F].
      held_out: bool [M], the interactions that are not fitted. Each iteration uses them to choose
        one penalty for all actions. At least one interaction is held out, and at least one is
        fitted.
      num_actions: A.
      bound: targets are clipped to [-bound, bound]; r_max / (1 - gamma) bounds every true value.
      num_iterations: number of iterations; each fits one regression for each action.
      penalties: float64 [P], the penalties to choose from.
      start: the head to start from; None for zeros.

    Raises:
      UserError: a feature is not finite, or the squares of the features overflow.
    """
    chex.assert_rank([batch.features_tm1, batch.a_tm1], [2, 1])
    chex.assert_equal_shape([batch.features_tm1, batch.features_t])
    chex.assert_equal_shape([batch.a_tm1, batch.r_t, batch.discount_t, held_out])
    chex.assert_equal_shape_prefix([batch.features_tm1, batch.a_tm1], 1)
    _check_squares(batch.features_tm1)
    x, action = batch.features_tm1, batch.a_tm1
    fitted = [np.flatnonzero(~held_out & (action == a)) for a in range(num_actions)]
    tested = [np.flatnonzero(held_out & (action == a)) for a in range(num_actions)]
    ridges = [Ridge(x[rows]) if len(rows) else None for rows in fitted]
    x_tested = [x[rows] for rows in tested]
    num_tested = int(held_out.sum())

    start = zero_head(x.shape[1], num_actions) if start is None else start
    kernel, bias = (np.asarray(weights, np.float64) for weights in start)
    targets = np.zeros(len(action))
    for _ in range(num_iterations):
        q = batch.features_t @ kernel.astype(np.float32) + bias.astype(np.float32)[None]
        previous = targets
        raw = batch.r_t + batch.discount_t * q.max(axis=1)
        targets = np.clip(raw, -bound, bound).astype(np.float64)
        # An action that was never taken keeps its weights.
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
        head=LinearHead(kernel.astype(np.float32), bias.astype(np.float32)),
        held_out_r2=float(1 - error[best] / num_tested / held_out_variance),
        penalty=float(penalties[best]),
        change=float(np.sqrt(np.mean(np.square(targets - previous))) / spread),
        bounded_share=bounded,
        diverged=not finite or bounded > DIVERGED_SHARE,
    )


def _check_squares(features: np.ndarray) -> None:
    """Raises `UserError` unless the squares of features [M, F] have a finite sum in float32."""
    flat = features.reshape(-1)
    if not np.isfinite(np.vdot(flat, flat)):
        raise UserError(
            f"fqi: features are as large as {np.max(np.abs(features)):g}, so that their squares "
            "overflow; scale the features down"
        )


class FqiLearner:
    """Growing-batch fitted Q iteration: a fit to the whole replay every `refit_every` agent steps.

    A fit that diverges is counted in `diverged_fits` and is not used.
    """

    def __init__(self, context: LearnerContext, settings: FqiSettings):
        self._context, self._settings = context, settings
        self.head = zero_head(context.num_features, context.num_actions)
        self.num_fits, self.diverged_fits = 0, 0
        self._next_fit = context.learn_after  # agent step
        self._fitted_at = -1  # agent step

    def learn(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Makes a fit if one is due."""
        if agent_step < self._next_fit:
            return {}
        refit_every = self._settings.refit_every
        self._next_fit = (agent_step // refit_every + 1) * refit_every
        return self._fit(replay, agent_step)

    def finish(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Makes the last fit to the whole replay, unless `learn` made it at this agent step."""
        return {} if self._fitted_at == agent_step else self._fit(replay, agent_step)

    def state(self) -> State:
        """The head, and when it was fitted. The learner has no random number generator."""
        return {
            "kernel": np.asarray(self.head.kernel),
            "bias": np.asarray(self.head.bias),
            "num_fits": np.array(self.num_fits),
            "diverged_fits": np.array(self.diverged_fits),
            "next_fit": np.array(self._next_fit),
            "fitted_at": np.array(self._fitted_at),
        }

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned."""
        self.head = LinearHead(jnp.asarray(state["kernel"]), jnp.asarray(state["bias"]))
        self.num_fits, self.diverged_fits = int(state["num_fits"]), int(state["diverged_fits"])
        self._next_fit, self._fitted_at = int(state["next_fit"]), int(state["fitted_at"])

    def _fit(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        self._fitted_at = agent_step
        time, env = replay.starts()
        batch = replay.gather(time, env)
        fit = fit_fqi(
            batch,
            self._choose_held_out(time, env),
            self._context.num_actions,
            bound=self._bound(batch),
            num_iterations=self._settings.iterations,
            start=self.head,
        )
        if fit.diverged:
            self.diverged_fits += 1
        else:
            self.num_fits += 1
            self.head = jax.tree.map(jnp.asarray, fit.head)
        return {name: float(x) for name, x in fit._asdict().items() if name != "head"}

    def _choose_held_out(self, time: np.ndarray, env: np.ndarray) -> np.ndarray:
        """bool [M]: whether the interaction that starts at each of these rows [M] is held out.

        Consecutive timesteps are correlated, so a group of them is held out as a whole. The seed
        alone decides which groups: they are the same at every fit.
        """
        group = (time // _HELD_OUT_STEPS) * self._context.num_envs + env
        chance = np.random.default_rng([self._context.seed, 2]).random(int(group.max()) + 1)
        held_out = chance[group] < self._settings.held_out
        if held_out.all() or not held_out.any():
            held_out = np.arange(len(time)) % 5 == 0
        return held_out

    def _bound(self, batch: Interaction) -> float:
        """An upper bound on |Q|. With unclipped rewards it uses the largest n-step return seen."""
        discount = self._context.discount
        if self._context.clip_rewards:
            return 1 / (1 - discount)
        return float(np.max(np.abs(batch.r_t))) / (1 - discount**self._context.n_step)
