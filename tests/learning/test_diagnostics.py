from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pvn.indicators.indicator import Indicator
from pvn.learning.diagnostics import (
    activation_metrics,
    dead_units,
    effective_rank,
    make_diagnostics,
)
from pvn.learning.losses import uniform_policy_value
from pvn.learning.train_step import init_train_state, make_target
from pvn.networks.network import Network
from pvn.types import Transition


def test_effective_rank_of_known_singular_values() -> None:
    # Shares of the sum: 0.5, 0.8, 0.995, 1.
    assert effective_rank(np.diag([500.0, 300.0, 195.0, 5.0])) == 3
    assert effective_rank(np.diag([500.0, 300.0, 195.0, 5.0]), threshold=0.75) == 2
    assert effective_rank(np.ones((7, 3))) == 1
    assert effective_rank(np.zeros((7, 3))) == 0


def test_dead_units() -> None:
    assert dead_units(np.array([[0.0, 1, 0], [0, 0, 2]])) == 1


def test_activation_metrics() -> None:
    # Rates 0.5, 0.25, 0 and 1: the last two tasks are dead.
    cumulant = np.array([[1.0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    metrics = activation_metrics(cumulant)
    assert metrics["activation_mean"] == pytest.approx(0.4375)
    assert metrics["activation_std"] == pytest.approx(np.std([0.5, 0.25, 0, 1]))
    assert metrics["dead_tasks"] == 2


def test_tasks_that_do_not_vary_explain_nothing() -> None:
    """Two tasks. The second is dead: the variance of its targets, mere noise, is no divisor."""
    network = Network(init=lambda key, x: {}, apply=lambda params, x: x[:, :, None])
    encoder = Network(init=lambda key, x: {}, apply=lambda params, x: x)
    indicator = Indicator(
        2,
        init=lambda key: ((), ()),
        response=lambda frozen, x: x,
        cumulant=lambda fitted, response: (response > jnp.array([[0.0, 9.0]])).astype(jnp.float32),
    )
    target = make_target(
        network=network, indicator=indicator, next_value=uniform_policy_value, gamma=0.5
    )
    diagnose = make_diagnostics(
        network=network, encoder=encoder, indicator=indicator, target=target
    )
    state: Any = init_train_state({"encoder": {}}, (), optax.identity(), optax.identity())
    s_tm1 = np.array([[1, 2], [-1, 3], [2, -4]], np.float32)
    # Targets of the first task: 1, 0, 1, and half of the next value.
    s_t = np.array([[2, 1e-4], [0, 0], [4, 0]], np.float32)
    actions = np.zeros(3, np.int32)
    batch = Transition(s_tm1, actions, np.ones(3, np.float32), s_t, actions, None)
    errors = np.array([2, 0, 3]) - s_tm1[:, 0]
    expected = 1 - errors.var() / np.var([2, 0, 3])
    assert diagnose(state, (), batch)["explained_variance"] == pytest.approx(expected, rel=1e-5)
    # NaN if no task varies.
    alike = batch._replace(s_tm1=np.ones((3, 2), np.float32))
    assert np.isnan(diagnose(state, (), alike)["explained_variance"])
