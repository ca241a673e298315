"""What a TD loss does not tell: how much of the targets is explained, how rich the features are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.indicators.indicator import Indicator
from pvn.learning.losses import NextValue, behaviour_value
from pvn.learning.train_step import TrainState, make_target
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
    next_value: NextValue,
    gamma: float,
) -> Callable[[TrainState, Any, Transition], dict[str, float]]:
    """A function (state, frozen, probe transitions) -> numbers about the features and values.

    The probe transitions are the same ones each time, so that the numbers are comparable over
    training. `explained_variance` is the mean over tasks of 1 - Var(target - q) / Var(target).
    """
    target_of = make_target(
        network=network, indicator=indicator, next_value=next_value, gamma=gamma
    )

    @jax.jit
    def evaluate(state: TrainState, frozen: Any, batch: Transition) -> tuple[jax.Array, jax.Array]:
        response = batch.response_tm1
        if response is None:
            response = indicator.response(frozen, batch.s_tm1)
        target = target_of(state, response, batch)
        q = behaviour_value(network.apply(state.params, batch.s_tm1), batch.a_tm1)
        variance = jnp.maximum(jnp.var(target, axis=0), 1e-12)
        features = encoder.apply(state.params["encoder"], batch.s_tm1)
        return features, jnp.mean(1 - jnp.var(target - q, axis=0) / variance)

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
