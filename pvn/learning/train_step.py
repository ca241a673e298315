"""The train state and the one step function that updates it.

Written once for one device. Every reduction over the batch takes `axis_name`; with it, the same
function runs on several devices (`pvn.learning.parallel`), each with its rows of the batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from pvn.indicators.indicator import Indicator
from pvn.learning.losses import NextValue, regression_loss, td_target
from pvn.networks.network import Network, Params
from pvn.types import Transition

Step = Callable[["TrainState", Params, Transition], "TrainState"]
Target = Callable[["TrainState", jax.Array, Transition], jax.Array]
TargetUpdate = Callable[[Params, Params, jax.Array], Params]

METRICS = ("loss", "gradient_norm", "mean_prediction", "threshold_loss")


class TrainState(NamedTuple):
    """All that a run carries from step to step; a checkpoint is this and the config."""

    step: jax.Array  # int32, steps taken
    params: Params
    target_params: Params
    opt_state: optax.OptState
    fitted: Params  # the indicator's
    fitted_opt_state: optax.OptState
    totals: dict[str, jax.Array]  # sums of METRICS since the last `reset_totals`, and counts
    first_bad_step: jax.Array  # int32, counted from 1, the first that was not finite; 0: none


def average_target(decay: float) -> TargetUpdate:
    """target <- decay * target + (1 - decay) * params, each step."""
    return lambda params, target, step: optax.incremental_update(params, target, 1 - decay)


def periodic_target(period: int) -> TargetUpdate:
    """target <- params, each `period` steps."""
    return lambda params, target, step: optax.periodic_update(params, target, step, period)


def init_train_state(
    params: Params,
    fitted: Params,
    optimizer: optax.GradientTransformation,
    fitted_optimizer: optax.GradientTransformation,
) -> TrainState:
    """A state before its first step; the target network starts as a copy."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        target_params=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        fitted=jax.tree.map(jnp.asarray, fitted),
        fitted_opt_state=fitted_optimizer.init(fitted),
        # An array each: what is donated must not be shared.
        totals={name: jnp.zeros(()) for name in (*METRICS, "steps", "updates")},
        first_bad_step=jnp.int32(0),
    )


def reset_totals(state: TrainState) -> TrainState:
    """Starts the sums of the metrics anew."""
    return state._replace(totals=jax.tree.map(jnp.zeros_like, state.totals))


def mean_metrics(state: TrainState) -> dict[str, float]:
    """METRICS, each a mean since the last `reset_totals`: over the steps for the threshold loss,
    for the others over those after the warm-up (0 if there were none)."""
    totals = {name: float(value) for name, value in jax.device_get(state.totals).items()}
    counts = {"threshold_loss": totals["steps"]}
    return {name: totals[name] / max(counts.get(name, totals["updates"]), 1.0) for name in METRICS}


def make_target(
    *, network: Network, indicator: Indicator, next_value: NextValue, gamma: float
) -> Target:
    """What predictions are regressed on: (state, response [B, T], transitions) -> [B, T].

    The Monte Carlo returns of a batch that holds them, else the TD target.

    Args:
      network: observations to values [B, T, A].
      indicator: of the T tasks.
      next_value: the target policy, from `losses.TARGET_POLICIES`.
      gamma: discount.
    """

    def target(state: TrainState, response: jax.Array, batch: Transition) -> jax.Array:
        chex.assert_rank(response, 2)
        if batch.return_tm1 is not None:
            return batch.return_tm1
        return td_target(
            indicator.cumulant(state.fitted, response),
            batch.discount_t,
            next_value(network.apply(state.target_params, batch.s_t), batch.a_t),
            gamma,
        )

    return target


def make_train_step(
    *,
    network: Network,
    indicator: Indicator,
    optimizer: optax.GradientTransformation,
    fitted_optimizer: optax.GradientTransformation,
    target: Target,
    target_update: TargetUpdate,
    warmup: bool = False,
    axis_name: str | None = None,
) -> Step:
    """The step: (state, frozen indicator parameters, transitions) -> state.

    Args:
      network: observations to values [B, T, A].
      indicator: of the T tasks.
      optimizer: of the network's parameters.
      fitted_optimizer: of the indicator's fitted parameters, where it has a loss.
      target: from `make_target`.
      target_update: takes the parameters from before the optimiser's update, as published.
      warmup: only the indicator's fitted parameters move.
      axis_name: over which the batch is split, or None.

    `frozen` is not used where transitions hold their responses.
    """

    def mean(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def fit_indicator(
        state: TrainState, response: jax.Array
    ) -> tuple[Params, optax.OptState, jax.Array]:
        if indicator.loss is None:
            return state.fitted, state.fitted_opt_state, jnp.float32(0)
        loss, gradient = mean(jax.value_and_grad(indicator.loss)(state.fitted, response))
        updates, opt_state = fitted_optimizer.update(gradient, state.fitted_opt_state, state.fitted)
        return optax.apply_updates(state.fitted, updates), opt_state, loss

    def learn(
        state: TrainState, response: jax.Array, batch: Transition
    ) -> tuple[Params, Params, optax.OptState, dict[str, jax.Array]]:
        targets = target(state, response, batch)

        def loss_of(params: Params) -> tuple[jax.Array, jax.Array]:
            q_tm1 = network.apply(params, batch.s_tm1)
            return regression_loss(q_tm1, batch.a_tm1, targets), jnp.mean(q_tm1)

        (loss, prediction), gradient = mean(jax.value_and_grad(loss_of, has_aux=True)(state.params))
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        metrics = {
            "loss": loss,
            # The barrier keeps XLA from writing out the squares, which Adam takes too.
            "gradient_norm": optax.tree.norm(jax.lax.optimization_barrier(gradient)),
            "mean_prediction": prediction,
        }
        target_params = target_update(state.params, state.target_params, state.step)
        return optax.apply_updates(state.params, updates), target_params, opt_state, metrics

    def step(state: TrainState, frozen: Params, batch: Transition) -> TrainState:
        response = batch.response_tm1
        if response is None:
            response = indicator.response(frozen, batch.s_tm1)
        fitted, fitted_opt_state, threshold_loss = fit_indicator(state, response)
        if warmup:
            params, target_params, opt_state = state.params, state.target_params, state.opt_state
            metrics = dict.fromkeys((*METRICS, "updates"), jnp.float32(0))
        else:
            params, target_params, opt_state, metrics = learn(state, response, batch)
            metrics["updates"] = jnp.float32(1)
        metrics |= {"threshold_loss": threshold_loss, "steps": jnp.float32(1)}
        # A gradient can overflow where the loss does not.
        finite = jnp.isfinite(metrics["loss"] + metrics["gradient_norm"] + threshold_loss)
        bad = ~finite & (state.first_bad_step == 0)
        return TrainState(
            step=state.step + 1,
            params=params,
            target_params=target_params,
            opt_state=opt_state,
            fitted=fitted,
            fitted_opt_state=fitted_opt_state,
            totals={key: value + metrics[key] for key, value in state.totals.items()},
            first_bad_step=jnp.where(bad, state.step + 1, state.first_bad_step),
        )

    return step
