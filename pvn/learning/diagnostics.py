"""What a TD loss does not tell: how much of the targets is explained, how rich the features are."""

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


def effective_rank(features: np.ndarray, threshold: float = 0.99) -> int:
    """Singular values of features [M, F] that make up `threshold` of their sum.

    The srank of Kumar et al., "Implicit Under-Parameterization Inhibits Data-Efficient Deep
    Reinforcement Learning" (2021), with delta = 1 - threshold. 0 for features that are all 0.
    """
    values = np.linalg.svd(features, compute_uv=False)
    if values[0] == 0:
        return 0
    return int(np.searchsorted(np.cumsum(values) / np.sum(values), threshold) + 1)


def dead_units(features: np.ndarray) -> int:
    """How many of F features [M, F] are 0 on every state."""
    return int(np.sum(~np.any(features, axis=0)))


def make_diagnostics(
    *,
    network: Network,
    encoder: Network,
    indicator: Indicator,
    target: Target,
) -> Callable[[TrainState, Any, Transition], dict[str, float]]:
    """A function (state, frozen, probe transitions) -> numbers about the features and values.

    The probe transitions are the same ones each time, so that the numbers are comparable over
    training. `explained_variance` is the mean of 1 - Var(target - q) / Var(target) over the tasks
    whose cumulants vary on these transitions (of the others there is nothing to explain); NaN
    where none does.
    """

    @jax.jit
    def evaluate(state: TrainState, frozen: Any, batch: Transition) -> tuple[jax.Array, jax.Array]:
        response = batch.response_tm1
        if response is None:
            response = indicator.response(frozen, batch.s_tm1)
        targets = target(state, response, batch)
        q = behaviour_value(network.apply(state.params, batch.s_tm1), batch.a_tm1)
        varies = jnp.ptp(indicator.cumulant(state.fitted, response), axis=0) > 0
        variance = jnp.maximum(jnp.var(targets, axis=0), 1e-12)
        explained = 1 - jnp.var(targets - q, axis=0) / variance
        features = encoder.apply(state.params["encoder"], batch.s_tm1)
        return features, jnp.mean(explained, where=varies)

    def diagnose(state: TrainState, frozen: Any, batch: Transition) -> dict[str, float]:
        features, explained = jax.device_get(evaluate(state, frozen, batch))
        return {
            "explained_variance": float(explained),
            "feature_rank": effective_rank(features),
            "dead_units": dead_units(features),
        }

    return diagnose


def activation_metrics(cumulant: np.ndarray) -> dict[str, float]:
    """Of cumulants [M, T]: the tasks' mean rates (mean, spread over tasks), and dead tasks.

    A dead task has the same cumulant in every state: it says nothing about the state.
    """
    rates = cumulant.mean(axis=0)
    return {
        "activation_mean": float(rates.mean()),
        "activation_std": float(rates.std()),
        "dead_tasks": int(np.sum(np.ptp(cumulant, axis=0) == 0)),
    }
