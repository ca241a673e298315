from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.published import plain
from pvn.indicators.indicator import Indicator
from pvn.learning.diagnostics import (
    activation_metrics,
    dead_units,
    effective_rank,
    make_diagnostics,
)
from pvn.learning.objectives import successor_objective
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.learning.train_step import init_train_state
from pvn.networks.network import Network
from pvn.probes import diagnostics
from pvn.types import Transition


@pytest.mark.parametrize(("rows", "columns"), [(30, 12), (12, 30)])
def test_jitted_ones_agree_with_those_of_any_features(rows: int, columns: int) -> None:
    random = np.random.default_rng(0)
    tables = [np.zeros((rows, columns)), np.ones((rows, columns)), 100 * np.eye(rows, columns)]
    for rank in (2, 5, 12):
        table = random.normal(size=(rows, rank)) * 10.0 ** -random.uniform(0, 3, rank)
        table = np.maximum(table @ random.normal(size=(rank, columns)), 0)
        table[:, random.random(columns) < 0.3] = 0
        tables.append(table)
    ranks = set()
    for table in tables:
        features = table.astype(np.float32)
        for delta in (0.01, 0.25):
            found = jax.jit(effective_rank)(features, delta)
            assert int(found) == diagnostics.effective_rank(features, delta)
            ranks.add(int(found))
        assert int(jax.jit(dead_units)(features)) == diagnostics.dead_units(features)
    assert len(ranks) > 4


def test_activation_metrics() -> None:
    # Rates 0.5, 0.25, 0 and 1: the last two tasks are dead.
    cumulant = np.array([[1.0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    metrics = activation_metrics(cumulant)
    assert metrics["activation_mean"] == pytest.approx(0.4375)
    assert metrics["activation_std"] == pytest.approx(np.std([0.5, 0.25, 0, 1]))
    assert metrics["dead_tasks"] == 2


def test_tasks_that_do_not_vary_explain_nothing() -> None:
    """Two tasks. The second is dead: the variance of its targets, mere noise, is no divisor."""
    network = plain(Network(init=lambda key, x: {}, apply=lambda params, x: x[:, :, None]))
    encoder = Network(init=lambda key, x: {}, apply=lambda params, x: x)
    indicator = Indicator(
        2,
        init=lambda key, observation: ((), ()),
        response=lambda frozen, x: x,
        cumulant=lambda fitted, response: (response > jnp.array([[0.0, 9.0]])).astype(jnp.float32),
    )
    objective = successor_objective(
        network=network, indicator=indicator, policy=TARGET_POLICIES["uniform"], gamma=0.5
    )
    diagnose = make_diagnostics(objective=objective, encoder=encoder, indicator=indicator)
    state: Any = init_train_state(
        objective, {"encoder": {}}, (), optax.identity(), optax.identity()
    )
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
