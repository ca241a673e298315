"""Diagnostics that the loss does not show: scores of the objective, feature rank, dead units."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.indicators.indicator import Indicator
from pvn.learning.objectives import Objective
from pvn.learning.train_step import TrainState
from pvn.networks.network import Network
from pvn.types import Transition

PROBE_TRANSITIONS = 512  # for the feature rank and the explained variance


def effective_rank(features: jax.Array, delta: float = 0.01) -> jax.Array:
    """`pvn.probes.diagnostics.effective_rank` for jitted functions: [M, F] to int32 []."""
    values = jnp.linalg.svd(features.astype(jnp.float32), compute_uv=False)
    total = jnp.sum(values)
    below = jnp.sum(jnp.cumsum(values) < (1 - delta) * total)
    return jnp.where(total > 0, below + 1, 0)


def dead_units(features: jax.Array) -> jax.Array:
    """The number of features that are 0 in every state: int32 [], of features [M, F]."""
    return jnp.sum(~jnp.any(features, axis=0))


def diagnostics_function(
    objective: Objective, encoder: Network, indicator: Indicator
) -> Callable[[TrainState, Any, Transition], dict[str, jax.Array]]:
    """A pure function: (state, frozen, probe transitions) -> the objective's scores, and of the
    features the effective rank and the number of dead units.
    """

    def evaluate(state: TrainState, frozen: Any, batch: Transition) -> dict[str, jax.Array]:
        response = batch.response_tm1
        if response is None:
            response = indicator.response(frozen, batch.s_tm1)
        targets = objective.target(state.target_params, state.fitted, response, batch)
        features = encoder.apply(state.params["encoder"], batch.s_tm1)
        return {
            **objective.scores(state.params, state.fitted, response, targets, batch),
            "feature_rank": effective_rank(features),
            "dead_units": dead_units(features),
        }

    return evaluate


def make_diagnostics(
    *, objective: Objective, encoder: Network, indicator: Indicator
) -> Callable[[TrainState, Any, Transition], dict[str, float]]:
    """`diagnostics_function`, compiled, with numbers as results.

    The caller passes the same probe transitions each time, so that the metrics of different steps
    can be compared.
    """
    evaluate = jax.jit(diagnostics_function(objective, encoder, indicator))

    def diagnose(state: TrainState, frozen: Any, batch: Transition) -> dict[str, float]:
        found = jax.device_get(evaluate(state, frozen, batch))
        return {name: value.item() for name, value in found.items()}

    return diagnose


def activation_metrics(cumulant: np.ndarray) -> dict[str, float]:
    """Activation rates and number of dead tasks, of cumulants [M, T].

    The rate of a task is its mean cumulant; the metrics are the mean and standard deviation of the
    rates over tasks. A dead task has the same cumulant in every state. No tasks, no metrics.
    """
    if not cumulant.shape[1]:
        return {}
    rates = cumulant.mean(axis=0)
    return {
        "activation_mean": float(rates.mean()),
        "activation_std": float(rates.std()),
        "dead_tasks": int(np.sum(np.ptp(cumulant, axis=0) == 0)),
    }
