"""The train state, and the step function that updates it.

Every reduction over the batch also reduces over `axis_name`, if there is one. So the same function
runs on one device and on several (`pvn.learning.parallel`), each with its rows of the batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pvn.indicators.indicator import Indicator
from pvn.learning.objectives import Objective
from pvn.networks.network import Params
from pvn.types import Transition

Step = Callable[["TrainState", Params, Transition], "TrainState"]
TargetUpdate = Callable[[Params, Params, jax.Array], Params]

METRICS = ("loss", "gradient_norm", "mean_prediction", "threshold_loss")


class TrainState(NamedTuple):
    """Everything that a run passes from step to step. A checkpoint stores it, with the identity."""

    step: jax.Array  # int32, steps taken
    params: Params
    target_params: Params  # of `Objective.keep`
    opt_state: optax.OptState
    fitted: Params  # the indicator's
    fitted_opt_state: optax.OptState
    totals: dict[str, jax.Array]  # sums of METRICS and counts of steps, since `reset_totals`
    first_bad_step: jax.Array  # int32, counted from 1: first step that was not finite; 0: none


def average_target(decay: float) -> TargetUpdate:
    """target <- decay * target + (1 - decay) * params, in each step."""
    return lambda params, target, step: optax.incremental_update(params, target, 1 - decay)


def periodic_target(period: int) -> TargetUpdate:
    """target <- params, every `period` steps, the first one included."""
    return lambda params, target, step: optax.periodic_update(params, target, step, period)


def init_train_state(
    objective: Objective,
    params: Params,
    fitted: Params,
    optimizer: optax.GradientTransformation,
    fitted_optimizer: optax.GradientTransformation,
) -> TrainState:
    """The state before the first step. The target network is a copy of the network."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        target_params=jax.tree.map(jnp.copy, objective.keep(params)),
        opt_state=optimizer.init(params),
        fitted=jax.tree.map(jnp.asarray, fitted),
        fitted_opt_state=fitted_optimizer.init(fitted),
        # One array for each: donated arrays must not share memory.
        totals={name: jnp.zeros(()) for name in (*METRICS, "steps", "updates")},
        first_bad_step=jnp.int32(0),
    )


def reset_totals(state: TrainState) -> TrainState:
    """Sets the sums of the metrics to 0."""
    return state._replace(totals=jax.tree.map(jnp.zeros_like, state.totals))


def mean_metrics(state: TrainState) -> dict[str, float]:
    """The means of METRICS since the last `reset_totals`.

    The mean of the threshold loss is over all steps. The other means are over the steps after the
    warm-up; they are 0 if there are none.
    """
    totals = {name: float(value) for name, value in jax.device_get(state.totals).items()}
    counts = {"threshold_loss": totals["steps"]}
    return {name: totals[name] / max(counts.get(name, totals["updates"]), 1.0) for name in METRICS}


def make_train_step(
    *,
    objective: Objective,
    indicator: Indicator,
    optimizer: optax.GradientTransformation,
    fitted_optimizer: optax.GradientTransformation,
    target_update: TargetUpdate,
    warmup: bool = False,
    axis_name: str | None = None,
) -> Step:
    """The step: (state, frozen indicator parameters, transitions) -> state.

    Args:
      objective: what the network's parameters minimise.
      indicator: of the T tasks.
      optimizer: of the network's parameters.
      fitted_optimizer: of the indicator's fitted parameters; used if the indicator has a loss.
      target_update: (what the target network keeps of the parameters before the optimiser's
        update, target parameters, step) -> target parameters.
      warmup: update only the indicator's fitted parameters.
      axis_name: the axis over which the batch is split; None on one device.

    The step does not use `frozen` if the transitions hold their responses.
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
        targets = objective.target(state.target_params, state.fitted, response, batch)
        loss_of = jax.value_and_grad(objective.loss, has_aux=True)
        (loss, prediction), gradient = mean(loss_of(state.params, targets, batch))
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        metrics = {
            "loss": loss,
            # Adam needs the squares too; without the barrier XLA would store them in memory.
            "gradient_norm": optax.tree.norm(jax.lax.optimization_barrier(gradient)),
            "mean_prediction": prediction,
        }
        kept = objective.keep(state.params)
        target_params = target_update(kept, state.target_params, state.step)
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
        # The gradient can overflow although the loss is finite.
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
