"""What pretraining minimises, by hand and on one and eight devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.published import plain
from pvn.indicators.discounts import discounts_of_tasks
from pvn.indicators.indicator import Indicator
from pvn.learning.objectives import inverse_objective, successor_objective
from pvn.learning.parallel import make_parallel
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.networks.network import Network
from pvn.networks.proto_value import make_inverse_network
from pvn.types import Transition

IDENTITY = plain(Network(init=lambda key, x: {}, apply=lambda params, x: x[:, :, None]))
TASKS = Indicator(
    3,
    init=lambda key, observation: ((), ()),
    response=lambda frozen, x: x,
    cumulant=lambda fitted, response: response,
)


def _batch(size: int) -> Transition:
    random = np.random.default_rng(0)
    return Transition(
        s_tm1=random.normal(size=(size, 3)).astype(np.float32),
        a_tm1=np.zeros(size, np.int32),
        discount_t=(random.random(size) < 0.7).astype(np.float32),
        s_t=random.normal(size=(size, 3)).astype(np.float32),
        a_t=np.zeros(size, np.int32),
        response_tm1=None,
    )


def _target(batch: Transition, axis_name: str | None = None, **changes: Any) -> jax.Array:
    objective = successor_objective(
        network=IDENTITY,
        indicator=TASKS,
        policy=TARGET_POLICIES["uniform"],
        axis_name=axis_name,
        **{"gamma": 0.5} | changes,
    )
    return objective.target({}, (), batch.s_tm1, batch)


def test_each_task_has_its_discount() -> None:
    gamma = discounts_of_tasks((0.5, 0.9), 3)
    assert gamma.tolist() == np.float32([0.5, 0.9, 0.5]).tolist()
    batch = _batch(6)
    expected = batch.s_tm1 + batch.discount_t[:, None] * batch.s_t * [[0.5, 0.9, 0.5]]
    np.testing.assert_allclose(_target(batch, gamma=gamma), expected, rtol=1e-6)
    equal = _target(batch, gamma=discounts_of_tasks((0.5,), 3))
    np.testing.assert_array_equal(equal, _target(batch))


def test_shuffled_next_states_are_those_of_the_next_transition() -> None:
    batch = _batch(6)
    others = batch._replace(
        s_t=np.roll(batch.s_t, -1, axis=0), discount_t=np.roll(batch.discount_t, -1)
    )
    np.testing.assert_array_equal(_target(batch, shuffled=True), _target(others))
    assert not np.array_equal(_target(batch, shuffled=True), _target(batch))


def test_shuffled_next_states_cross_devices() -> None:
    batch = _batch(16)
    parallel = make_parallel(jax.devices()[:8])
    run = parallel.compile(lambda b: _target(b, parallel.axis_name, shuffled=True), donate=False)
    found = np.asarray(run(parallel.split(batch))).reshape(16, 3)
    np.testing.assert_array_equal(found, _target(batch, shuffled=True))


def test_inverse_dynamics_by_hand() -> None:
    """Logits are the sums of both states' entries; transitions that end the game do not count."""
    network = Network(init=lambda key, x: {}, apply=lambda params, x: x.sum(axis=1))
    objective = inverse_objective(network)
    batch = _batch(5)._replace(
        a_tm1=np.array([0, 1, 2, 1, 0], np.int32), discount_t=np.float32([1, 1, 0, 1, 1])
    )
    targets = objective.target({}, (), jnp.zeros((5, 0)), batch)
    logits = (batch.s_tm1 + batch.s_t).astype(np.float64)
    log_likelihood = logits[np.arange(5), batch.a_tm1] - np.log(np.exp(logits).sum(axis=1))
    loss, mean = objective.loss({}, targets, batch)
    assert loss == pytest.approx(-log_likelihood[[0, 1, 3, 4]].sum() / 5, rel=1e-5)
    assert mean == pytest.approx(logits.mean(), rel=1e-5)
    right = (logits.argmax(axis=1) == batch.a_tm1)[[0, 1, 3, 4]]
    scores = objective.scores({}, (), jnp.zeros((5, 0)), targets, batch)
    assert scores["action_accuracy"] == pytest.approx(right.mean())


def test_the_inverse_network_reads_the_features_of_both_states() -> None:
    encoder = Network(
        init=lambda key, x: {"w": jnp.full((), 2.0)}, apply=lambda params, x: x * params["w"]
    )
    network = make_inverse_network(encoder, num_actions=4)
    pairs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32))
    params = network.init(jax.random.key(0), pairs[:1])
    heads = jax.tree.map(np.asarray, params["heads"])
    assert heads["Dense_0"]["kernel"].shape == (6, 256)
    hidden = np.maximum(2 * np.asarray(pairs).reshape(5, 6) @ heads["Dense_0"]["kernel"], 0)
    expected = hidden @ heads["Dense_1"]["kernel"]
    np.testing.assert_allclose(network.apply(params, pairs), expected, rtol=1e-4, atol=1e-5)
