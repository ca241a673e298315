"""Diagnostics that the loss does not show: explained variance, feature rank, dead units."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.indicators.indicator import Indicator
from pvn.learning.losses import behaviour_value
from pvn.learning.train_step import Target, TrainState
from pvn.networks.network import Network
from pvn.types import Transition


def effective_rank(features: jax.Array, delta: float = 0.01) -> jax.Array:
    """`pvn.probes.diagnostics.effective_rank` for jitted functions: [M, F] to int32 []."""
    values = jnp.linalg.svd(features.astype(jnp.float32), compute_uv=False)
    total = jnp.sum(values)
    below = jnp.sum(jnp.cumsum(values) < (1 - delta) * total)
    return jnp.where(total > 0, below + 1, 0)


def dead_units(features: jax.Array) -> jax.Array:
    """The number of features that are 0 in every state: int32 [], of features [M, F]."""
    return jnp.sum(~jnp.any(features, axis=0))


def make_diagnostics(
    *,
    network: Network,
    encoder: Network,
    indicator: Indicator,
    target: Target,
) -> Callable[[TrainState, Any, Transition], dict[str, float]]:
    """A function: (state, frozen, probe transitions) -> metrics of the features and values.

    The caller passes the same probe transitions each time, so that the metrics of different steps
    can be compared. `explained_variance` is the mean of 1 - Var(target - q) / Var(target) over the
    tasks whose cumulants vary on the probe transitions. It is NaN if no task varies.
    """

    @jax.jit
    def evaluate(state: TrainState, frozen: Any, batch: Transition) -> dict[str, jax.Array]:
        response = batch.response_tm1
        if response is None:
            response = indicator.response(frozen, batch.s_tm1)
        targets = target(state, response, batch)
        q = behaviour_value(network.apply(state.params, batch.s_tm1), batch.a_tm1)
        varies = jnp.ptp(indicator.cumulant(state.fitted, response), axis=0) > 0
        variance = jnp.maximum(jnp.var(targets, axis=0), 1e-12)
        explained = 1 - jnp.var(targets - q, axis=0) / variance
        features = encoder.apply(state.params["encoder"], batch.s_tm1)
        return {
            "explained_variance": jnp.mean(explained, where=varies),
            "feature_rank": effective_rank(features),
            "dead_units": dead_units(features),
        }

    def diagnose(state: TrainState, frozen: Any, batch: Transition) -> dict[str, float]:
        found = jax.device_get(evaluate(state, frozen, batch))
        return {name: value.item() for name, value in found.items()}

    return diagnose


def activation_metrics(cumulant: np.ndarray) -> dict[str, float]:
    """Activation rates and number of dead tasks, of cumulants [M, T].

    The rate of a task is its mean cumulant; the metrics are the mean and standard deviation of the
    rates over tasks. A dead task has the same cumulant in every state.
    """
    rates = cumulant.mean(axis=0)
    return {
        "activation_mean": float(rates.mean()),
        "activation_std": float(rates.std()),
        "dead_tasks": int(np.sum(np.ptp(cumulant, axis=0) == 0)),
    }
