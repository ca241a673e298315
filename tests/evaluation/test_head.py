import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from pvn.errors import UserError
from pvn.evaluation import acting
from pvn.evaluation.acting import Actor
from pvn.evaluation.head import init_head, is_finite, outputs
from pvn.evaluation.learner import Policy
from pvn.evaluation.policy import load_policy, save_policy
from pvn.evaluation.values import C51, ActionValue, HlGauss
from pvn.features import random_features
from tests.evaluation.pixels import linear_head, pixel_features


def test_a_linear_head_by_hand():
    head = linear_head(jnp.array([[1.0, 2], [10, 20]]), jnp.array([100.0, 200]))
    found = outputs(head, jnp.array([[1.0, 1], [0, 0], [2, -1]]), 2)
    assert found.tolist() == [[[111], [222]], [[100], [200]], [[92], [184]]]


def test_layers_by_hand():
    # One hidden unit, relu(x - 1); two outputs for each of two actions.
    head = linear_head(jnp.array([[1.0]]), jnp.array([-1.0]))
    head += linear_head(jnp.array([[1.0, 2, 3, 4]]), jnp.array([0.0, 0, 0, 5]))
    found = outputs(head, jnp.array([[3.0], [0.5]]), 2)
    assert found.tolist() == [[[2, 4], [6, 13]], [[0, 0], [0, 5]]]


def test_the_outputs_of_a_new_head_are_0():
    head = init_head(7, 12, (5, 4), seed=3)
    assert [layer.kernel.shape for layer in head] == [(7, 5), (5, 4), (4, 12)]
    assert not np.any(outputs(head, jnp.ones((2, 7)), 3))
    # Xavier-uniform: the limit is sqrt(6 / (fan in + fan out)).
    assert 0.5 < np.abs(head[0].kernel).max() / np.sqrt(6 / 12) <= 1
    again, other = init_head(7, 12, (5, 4), seed=3), init_head(7, 12, (5, 4), seed=4)
    np.testing.assert_array_equal(again[0].kernel, head[0].kernel)
    assert not np.array_equal(other[0].kernel, head[0].kernel)
    drawn = init_head(7, 12, (5, 4), seed=3, random_output=True)
    np.testing.assert_array_equal(drawn[0].kernel, head[0].kernel)
    assert 0.8 < np.abs(drawn[2].kernel).max() / np.sqrt(6 / 16) <= 1
    assert not drawn[2].bias.any()


@pytest.mark.parametrize(("kernel", "features"), [((2, 3), (4, 3)), ((2, 3), (2,))])
def test_wrong_shapes_are_refused(kernel, features):
    with pytest.raises((AssertionError, TypeError)):
        outputs(linear_head(jnp.zeros(kernel), jnp.zeros(3)), jnp.zeros(features), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_finite(value):
    (one,) = init_head(3, 2)
    assert is_finite((one,))
    assert not is_finite((one._replace(kernel=one.kernel.at[1, 1].set(value)),))
    assert not is_finite((one, one._replace(bias=one.bias.at[1].set(value))))


def test_act_takes_the_best_action_on_the_features():
    features = random_features(num_features=8, seed=1)
    observation = np.random.default_rng(0).integers(256, size=(5, 84, 84, 4), dtype=np.uint8)
    random = np.random.default_rng(1)
    kernel = random.normal(size=(8, 6)).astype(np.float32)
    act = Actor(features, ActionValue(), 6)
    x, action = act(linear_head(kernel, np.zeros(6, np.float32)), observation)
    np.testing.assert_allclose(x, features(observation), rtol=1e-4, atol=1e-5)
    assert action.tolist() == (x @ kernel).argmax(axis=1).tolist()
    # A large bias decides the action.
    biased = linear_head(kernel, np.array([0, 0, 1e6, 0, 0, 0], np.float32))
    assert act(biased, observation).greedy.tolist() == [2] * 5
    # Other parameters give other features.
    zeros = jax.tree.map(np.zeros_like, features.params)
    assert not act(biased, observation, zeros).features.any()


def test_act_is_traced_once_for_all_heads_and_observations(monkeypatch):
    chex.clear_trace_counter()
    monkeypatch.setattr(acting, "outputs", chex.assert_max_traces(outputs, n=1))
    act = Actor(pixel_features(8), ActionValue(), 6)
    for value in range(3):
        head = jax.tree.map(lambda x, v=value: x + v, init_head(8, 6))
        act(head, np.full((5, 84, 84, 4), value, np.uint8))
    with pytest.raises(AssertionError, match="traced > 1"):
        act(head, np.zeros((6, 84, 84, 4), np.uint8))


@pytest.mark.parametrize("kind", [ActionValue(), C51(5, 2.0), HlGauss(7, 3.0, 0.5)])
def test_a_saved_policy_plays_the_same(tmp_path, kind):
    features = random_features(num_features=8)
    random = np.random.default_rng(0)
    head = jax.tree.map(  # safetensors would save memory that is in another order as it is
        lambda x: np.asfortranarray(random.normal(size=x.shape).astype(np.float32) * (x.ndim == 2)),
        init_head(8, 4 * kind.num_outputs, (6,)),
    )
    save_policy(tmp_path, Policy(features, head, kind, 4), {"game": "Breakout", "head": "x"})
    observation = random.integers(256, size=(20, 1, 1, 4)) * (random.random((20, 84, 84, 1)) < 0.3)
    observation = observation.astype(np.uint8)
    expected = Actor(features, kind, 4)(head, observation).greedy
    policy = load_policy(tmp_path)
    np.testing.assert_array_equal(policy(observation), expected)
    assert policy.policy.values == kind
    assert len(set(expected.tolist())) > 1


def test_a_policy_that_is_corrupt_or_diverged_is_not_loaded(tmp_path):
    features = random_features(num_features=8)
    for value in (3.0, np.nan):
        bias = np.array([0, 0, value, 0], np.float32)
        head = linear_head(np.zeros((8, 4), np.float32), bias)
        policy = Policy(features, head, ActionValue(), 4)
        save_policy(tmp_path, policy, {"game": "Breakout", "head": "dqn"})
        if value == 3:
            assert load_policy(tmp_path)(np.zeros((2, 84, 84, 4), np.uint8)).tolist() == [2, 2]
            save_file({"0.kernel": head[0].kernel}, tmp_path / "head.safetensors")
            with pytest.raises(UserError, match=r"is corrupt: its head_sha256 is not that in pol"):
                load_policy(tmp_path)
    with pytest.raises(UserError, match=r"its head diverged, weights are not finite"):
        load_policy(tmp_path)
    metadata = json.loads((tmp_path / "policy.json").read_text())
    del metadata["head_sha256"]
    for text in (json.dumps(metadata | {"version": 1}), json.dumps(metadata), "", "[]", "{}"):
        (tmp_path / "policy.json").write_text(text)
        with pytest.raises(UserError, match=r"/policy.json: is not a pvn-policy of version 2$"):
            load_policy(tmp_path)
