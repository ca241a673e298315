import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.evaluation.head import LinearHead, is_finite, make_act, q_values, zero_head
from pvn.evaluation.policy import load_policy, save_policy
from pvn.features import random_features


def test_values_by_hand():
    head = LinearHead(jnp.array([[1.0, 2], [10, 20]]), jnp.array([100.0, 200]))
    values = q_values(head, jnp.array([[1.0, 1], [0, 0], [2, -1]]))
    assert values.tolist() == [[111, 222], [100, 200], [92, 184]]
    assert jax.tree.map(jnp.shape, zero_head(7, 3)) == LinearHead((7, 3), (3,))
    assert not any(x.any() for x in zero_head(7, 3))


@pytest.mark.parametrize(
    ("kernel", "bias", "features"),
    [
        ((2, 3), (3,), (4, 3)),
        ((2, 3), (2,), (4, 2)),
        ((2, 3), (1, 3), (4, 2)),
        ((2, 3), (3,), (2,)),
    ],
)
def test_wrong_shapes_are_refused(kernel, bias, features):
    with pytest.raises(AssertionError):
        q_values(LinearHead(jnp.zeros(kernel), jnp.zeros(bias)), jnp.zeros(features))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_finite(value):
    assert is_finite(zero_head(3, 2))
    kernel, bias = zero_head(3, 2)
    assert not is_finite(LinearHead(kernel.at[1, 1].set(value), bias))
    assert not is_finite(LinearHead(kernel, bias.at[1].set(value)))


def test_act_takes_the_best_action_on_the_features():
    features = random_features(num_features=8, seed=1)
    observation = np.random.default_rng(0).integers(256, size=(5, 84, 84, 4), dtype=np.uint8)
    random = np.random.default_rng(1)
    head = LinearHead(random.normal(size=(8, 6)).astype(np.float32), np.zeros(6, np.float32))
    x, action = make_act(features)(head, observation)
    np.testing.assert_allclose(x, features(observation), rtol=1e-4, atol=1e-5)
    expected = np.asarray(x) @ head.kernel
    assert action.tolist() == expected.argmax(axis=1).tolist()
    # A large bias decides the action.
    biased = head._replace(bias=np.array([0, 0, 1e6, 0, 0, 0], np.float32))
    assert make_act(features)(biased, observation)[1].tolist() == [2] * 5


def test_act_is_traced_once_for_all_heads_and_observations(monkeypatch):
    chex.clear_trace_counter()
    counted = chex.assert_max_traces(q_values, n=1)
    monkeypatch.setattr("pvn.evaluation.head.q_values", counted)
    act = make_act(random_features(num_features=8))
    for value in range(3):
        head = jax.tree.map(lambda x, v=value: x + v, zero_head(8, 6))
        act(head, np.full((5, 84, 84, 4), value, np.uint8))
    with pytest.raises(AssertionError, match="traced > 1"):
        act(head, np.zeros((6, 84, 84, 4), np.uint8))


def test_a_policy_that_diverged_is_not_loaded(tmp_path):
    kernel, bias = zero_head(8, 4)
    metadata = {"game": "Breakout", "num_actions": 4, "head": "dqn"}
    features = random_features(num_features=8)
    save_policy(tmp_path, features, LinearHead(kernel, bias.at[2].set(3)), metadata)
    policy = load_policy(tmp_path)
    assert policy(np.zeros((2, 84, 84, 4), np.uint8)).tolist() == [2, 2]
    save_policy(tmp_path, features, LinearHead(kernel, bias.at[2].set(jnp.nan)), metadata)
    with pytest.raises(UserError, match=r"its head diverged, weights are not finite"):
        load_policy(tmp_path)
