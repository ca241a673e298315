import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pvn.networks.encoders import make_encoder
from pvn.networks.network import Network
from pvn.networks.proto_value import TaskHeads, make_proto_value_network


def observations(count):
    return np.random.default_rng(0).integers(0, 256, (count, 84, 84, 4), dtype=np.uint8)


@pytest.mark.parametrize(("tasks", "actions"), [(1, 1), (1, 4), (7, 1), (7, 4)])
def test_heads_are_separate_layers(tasks, actions):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, 6)).astype(np.float32)
    module = TaskHeads(tasks, actions)
    shapes = jax.eval_shape(module.init, jax.random.key(0), features)["params"]["DenseGeneral_0"]
    assert {name: leaf.shape for name, leaf in shapes.items()} == {
        "kernel": (6, tasks, actions), "bias": (tasks, actions)
    }  # fmt: skip
    kernel = rng.normal(size=(6, tasks, actions)).astype(np.float32)
    bias = rng.normal(size=(tasks, actions)).astype(np.float32)
    params = {"DenseGeneral_0": {"kernel": kernel, "bias": bias}}
    got = module.apply({"params": params}, features)
    assert (got.shape, got.dtype) == ((5, tasks, actions), jnp.float32)
    for task in range(tasks):
        lone = np.einsum("bf,fa->ba", features, kernel[:, task]) + bias[task]
        np.testing.assert_allclose(got[:, task], lone, rtol=1e-5, atol=1e-5)


def test_heads_without_bias_are_linear():
    encoder = Network(init=lambda key, x: {}, apply=lambda params, x: x)
    network = make_proto_value_network(encoder, 3, 2, use_bias=False)
    params = network.init(jax.random.key(0), jnp.zeros((1, 4)))
    assert list(params["heads"]["DenseGeneral_0"]) == ["kernel"]
    assert not np.any(network.apply(params, jnp.zeros((2, 4))))


@pytest.mark.parametrize("num_features", [64, 400])
def test_a_head_starts_as_a_lone_layer(num_features):
    # Compares 40 heads with 40 dense layers. A fan-in or fan-out that counts tasks is far off.
    features = jnp.zeros((1, num_features))
    heads = TaskHeads(40, 50).init(jax.random.key(0), features)["params"]["DenseGeneral_0"]
    lone = jax.vmap(lambda key: nn.Dense(50).init(key, features)["params"]["kernel"])(
        jax.random.split(jax.random.key(1), 40)
    )
    assert not heads["bias"].any()
    scale = num_features**-0.5
    assert float(heads["kernel"].std()) == pytest.approx(scale, rel=0.02)
    assert float(lone.std()) == pytest.approx(scale, rel=0.02)
    np.testing.assert_allclose(heads["kernel"].std(axis=(0, 2)), scale, rtol=0.1)
    # Flax truncates the normal at two standard deviations; its spread is then 0.8796 times.
    assert float(jnp.abs(heads["kernel"]).max()) <= 2 * scale / 0.8796
    np.testing.assert_allclose(heads["kernel"].mean(axis=(0, 2)), 0, atol=0.1 * scale)


def test_network_is_heads_on_the_features_of_the_encoder():
    encoder = make_encoder("nature", width=1, num_features=16)
    network = make_proto_value_network(encoder, num_tasks=3, num_actions=4)
    observation = observations(5)
    params = jax.jit(network.init)(jax.random.key(0), observation[:1])
    assert params.keys() == {"encoder", "heads"}
    heads = params["heads"]["DenseGeneral_0"]
    heads["bias"] = jnp.arange(12.0).reshape(3, 4)
    got = jax.jit(network.apply)(params, observation)

    features = jax.jit(encoder.apply)(params["encoder"], observation)
    expected = np.einsum("bf,fta->bta", features, heads["kernel"]) + np.asarray(heads["bias"])
    assert (got.shape, got.dtype) == ((5, 3, 4), jnp.float32)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert float(features.std()) > 0


def test_encoder_and_heads_have_different_keys():
    # With a shared key, both would be the same numbers.
    encoder = Network(
        lambda key, x: TaskHeads(2, 3).init(key, x)["params"],
        lambda params, x: TaskHeads(2, 3).apply({"params": params}, x).reshape(-1, 6),
    )
    network = make_proto_value_network(encoder, num_tasks=2, num_actions=3)
    params = network.init(jax.random.key(0), jnp.zeros((1, 6)))
    kernels = [params[part]["DenseGeneral_0"]["kernel"] for part in ("encoder", "heads")]
    assert kernels[0].shape == kernels[1].shape
    assert not np.array_equal(*kernels)


def test_heads_are_float32_above_an_encoder_that_is_not():
    encoder = make_encoder("nature", width=1, num_features=8, dtype="bfloat16")
    network = make_proto_value_network(encoder, num_tasks=2, num_actions=3)
    observation = jax.ShapeDtypeStruct((2, 84, 84, 4), jnp.uint8)
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert jax.eval_shape(network.apply, params, observation).dtype == jnp.float32
