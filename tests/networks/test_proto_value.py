import jax
import jax.numpy as jnp
import numpy as np

from pvn.networks.encoders import make_encoder
from pvn.networks.heads import action_values, init_heads
from pvn.networks.network import Network
from pvn.networks.proto_value import make_proto_value_network


def observations(count):
    return np.random.default_rng(0).integers(0, 256, (count, 84, 84, 4), dtype=np.uint8)


def test_network_is_heads_on_the_features_of_the_encoder():
    encoder = make_encoder("nature", width=1, num_features=16)
    network = make_proto_value_network(encoder, num_tasks=3, num_actions=4)
    observation, action = observations(5), np.array([0, 1, 3, 3, 2])
    params = jax.jit(network.init)(jax.random.key(0), observation[:1])
    assert params.keys() == {"encoder", "heads"}
    params["heads"]["bias"] = jnp.arange(12.0).reshape(4, 3)

    features = jax.jit(encoder.apply)(params["encoder"], observation)
    q = np.einsum("bf,aft->bat", features, params["heads"]["kernel"])
    q += np.asarray(params["heads"]["bias"])
    got = jax.jit(network.action_values)(params, observation, action)
    assert (got.shape, got.dtype) == ((5, 3), jnp.float32)
    np.testing.assert_allclose(got, q[np.arange(5), action], rtol=1e-5, atol=1e-5)
    kept = network.mean_over_actions(params)
    got = jax.jit(network.mean_values)(kept, observation)
    assert (got.shape, got.dtype) == ((5, 3), jnp.float32)
    np.testing.assert_allclose(got, q.mean(axis=1), rtol=1e-5, atol=1e-5)
    got = jax.jit(network.max_values)(params, observation)
    assert (got.shape, got.dtype) == ((5, 3), jnp.float32)
    np.testing.assert_allclose(got, q.max(axis=1), rtol=1e-5, atol=1e-5)
    assert float(features.std()) > 0


def test_encoder_and_heads_have_different_keys():
    # With a shared key, both would be the same numbers.
    encoder = Network(
        lambda key, x: init_heads(key, 6, 2, 3),
        lambda params, x: action_values(params, x, jnp.zeros(len(x), int)),
    )
    network = make_proto_value_network(encoder, num_tasks=2, num_actions=3)
    params = network.init(jax.random.key(0), jnp.zeros((1, 6)))
    kernels = [np.ravel(params[part]["kernel"])[:4] for part in ("encoder", "heads")]
    assert not np.isclose(kernels[0] / kernels[1], kernels[0][0] / kernels[1][0]).all()


def test_heads_are_float32_above_an_encoder_that_is_not():
    encoder = make_encoder("nature", width=1, num_features=8, dtype="bfloat16")
    network = make_proto_value_network(encoder, num_tasks=2, num_actions=3)
    observation = jax.ShapeDtypeStruct((2, 84, 84, 4), jnp.uint8)
    action = jax.ShapeDtypeStruct((2,), jnp.int32)
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert jax.eval_shape(network.action_values, params, observation, action).dtype == jnp.float32
