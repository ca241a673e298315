import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from pvn.errors import UserError
from pvn.networks.encoders import init_encoder, make_encoder
from pvn.networks.impala import max_pool

ENCODERS = ["nature", "impala"]

OWN = """
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp

def pixels(x):
    return x[:, ::21, ::21].reshape(x.shape[0], -1).astype(jnp.float32) / 255

class FlaxOwn(nn.Module):
    num_features: int
    width: int
    dtype: object

    @nn.compact
    def __call__(self, observation):
        x = nn.Dense(3 * self.width, dtype=self.dtype)(pixels(observation))
        return nn.Dense(self.num_features, dtype=self.dtype)(x)

def HaikuOwn(num_features, width, dtype):
    return hk.transform(lambda x: hk.nets.MLP([3 * width, num_features])(pixels(x)))

class WithStatistics(FlaxOwn):
    @nn.compact
    def __call__(self, observation):
        x = nn.BatchNorm(use_running_average=True)(pixels(observation))
        return nn.Dense(self.num_features)(x)

class Narrow(FlaxOwn):
    @nn.compact
    def __call__(self, observation):
        return nn.Dense(self.num_features - 1)(pixels(observation))

class Flat(FlaxOwn):
    @nn.compact
    def __call__(self, observation):
        return nn.Dense(self.num_features)(pixels(observation)).reshape(-1)

def stateful(num_features, width, dtype):
    return hk.transform_with_state(lambda x: hk.Linear(num_features)(pixels(x)))

def function(num_features, width, dtype):
    return lambda x: x

def bare(num_features):
    return None

class Breaks(FlaxOwn):
    @nn.compact
    def __call__(self, observation):
        return pixels(observation) @ pixels(observation)

class Half(FlaxOwn):
    @nn.compact
    def __call__(self, observation):
        return nn.Dense(self.num_features, param_dtype=jnp.bfloat16)(pixels(observation))
"""


def test_kernels_of_nature_xavier_are_xavier_uniform():
    params = init_encoder(make_encoder("nature_xavier", width=1, num_features=64), 0)
    fans = {"Conv_0": (256, 2048), "Conv_1": (512, 1024), "Conv_2": (576, 576)}
    for name, (inputs, outputs) in (fans | {"Dense_0": (7744, 64)}).items():
        limit = np.sqrt(6 / (inputs + outputs))
        kernel = np.asarray(params[name]["kernel"])
        assert 0.99 < np.abs(kernel).max() / limit <= 1
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
        assert not np.any(params[name]["bias"])


def test_the_minatar_encoder_by_hand():
    encoder = make_encoder("minatar", width=2, num_features=5, observation_shape=(10, 9, 3))
    params = init_encoder(encoder, 0, (10, 9, 3))
    assert jax.tree.map(np.shape, params) == {
        "Conv_0": {"kernel": (3, 3, 3, 32), "bias": (32,)},
        "Dense_0": {"kernel": (8 * 7 * 32, 5), "bias": (5,)},
    }
    states = np.random.default_rng(0).integers(0, 2, (2, 10, 9, 3), dtype=np.uint8)
    patches = np.lib.stride_tricks.sliding_window_view(states, (3, 3), axis=(1, 2))
    kernel, bias = params["Conv_0"]["kernel"], params["Conv_0"]["bias"]
    hidden = np.einsum("nijchw,hwco->nijo", patches, kernel) + np.asarray(bias)[None, None, None]
    flat = np.maximum(hidden, 0).reshape(2, -1)
    dense = params["Dense_0"]
    expected = np.maximum(flat @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])[None], 0)
    np.testing.assert_allclose(encoder.apply(params, states), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["nature", "impala", "minatar"])
@pytest.mark.parametrize(("norm", "activation"), [("layer_norm", "tanh"), ("none", "none")])
def test_the_last_layer_by_hand(name, norm, activation):
    """Before the activation, LayerNorm gives each row mean 0 and variance 1."""
    made = {"width": 1, "num_features": 32}
    plain = make_encoder(name, **made, feature_activation="none")
    encoder = make_encoder(name, **made, feature_norm=norm, feature_activation=activation)
    params = init_encoder(encoder, 0)
    scale = np.random.default_rng(0).normal(size=32).astype(np.float32)
    if norm == "layer_norm":
        params["LayerNorm_0"] |= {"scale": scale}
    before = np.asarray(plain.apply(params, observations(3)), np.float64)
    expected = before
    if norm == "layer_norm":
        centred = before - before.mean(axis=1, keepdims=True)
        expected = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6) * scale
    expected = np.tanh(expected) if activation == "tanh" else expected
    assert expected.min() < 0
    found = encoder.apply(params, observations(3))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_default_last_layer_is_dense_and_relu():
    plain = make_encoder("nature", width=1, num_features=32, feature_activation="none")
    encoder = make_encoder("nature", width=1, num_features=32)
    params = init_encoder(encoder, 0)
    assert set(params) == {"Conv_0", "Conv_1", "Conv_2", "Dense_0"}
    expected = np.maximum(plain.apply(params, observations(3)), 0)
    np.testing.assert_array_equal(encoder.apply(params, observations(3)), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width: 0, expected a whole number, from 1 to 65536"),
        ({"num_features": -3}, "num_features: -3, expected a whole number, from 1 to"),
        ({"dtype": "int8"}, "dtype: 'int8', expected one of float32, bfloat16"),
        (
            {"observation_shape": (10, 10)},
            "observation_shape: (10, 10), expected three numbers: height, width, channels",
        ),
        ({"feature_norm": "batch"}, "feature_norm: 'batch', expected one of none, layer_norm"),
        ({"feature_activation": "x"}, "feature_activation: 'x', expected one of relu, gelu, tanh"),
    ],
)
def test_an_encoder_that_cannot_be_made(changes, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        make_encoder("nature", **{"width": 1, "num_features": 8} | changes)


def test_an_own_encoder_has_its_own_last_layer(own):
    name = f"{own}/own_encoders.py:FlaxOwn"
    plain, normed = (
        make_encoder(name, width=1, num_features=8, feature_norm=norm)
        for norm in ("none", "layer_norm")
    )
    params = plain.init(jax.random.key(0), observations(1))
    jax.tree.map(
        np.testing.assert_array_equal, params, normed.init(jax.random.key(0), observations(1))
    )
    np.testing.assert_array_equal(
        plain.apply(params, observations(2)), normed.apply(params, observations(2))
    )


def observations(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 84, 84, 4), dtype=np.uint8)


def abstract_params(encoder):
    observation = jax.ShapeDtypeStruct((1, 84, 84, 4), jnp.uint8)
    return jax.eval_shape(encoder.init, jax.random.key(0), observation)


def shapes_of(encoder):
    leaves = jax.tree.leaves_with_path(abstract_params(encoder))
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def random_params(encoder):
    """Random weights of the initial scale, and random biases, which normally start at zero."""
    rng = np.random.default_rng(1)

    def draw(leaf):
        scale = np.prod(leaf.shape[:-1]) ** -0.5 if len(leaf.shape) > 1 else 0.1
        return (scale * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    return jax.tree.map(draw, abstract_params(encoder))


# Plain re-implementations, whose input is scaled pixels.


def plain_conv(params, x, stride=1):
    out = lax.conv_general_dilated(
        x, params["kernel"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out + params["bias"][None, None, None]


def plain_dense(params, x):
    x = x.reshape(len(x), -1) @ params["kernel"] + params["bias"][None]
    return jnp.maximum(x, 0)


def plain_nature(params, x):
    for number, stride in enumerate((4, 2, 1)):
        x = jnp.maximum(plain_conv(params[f"Conv_{number}"], x, stride), 0)
    return plain_dense(params["Dense_0"], x)


def plain_impala(params, x):
    convs = iter(params[f"Conv_{number}"] for number in range(15))
    for _ in range(3):
        x = plain_conv(next(convs), x)
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for _ in range(2):
            y = plain_conv(next(convs), jnp.maximum(x, 0))
            x = x + plain_conv(next(convs), jnp.maximum(y, 0))
    return plain_dense(params["Dense_0"], jnp.maximum(x, 0))


@pytest.mark.parametrize(("name", "plain"), [("nature", plain_nature), ("impala", plain_impala)])
def test_against_a_plain_implementation(name, plain):
    encoder = make_encoder(name, width=1, num_features=32)
    params = random_params(encoder)
    observation = observations(3)
    got = jax.jit(encoder.apply)(params, observation)
    expected = plain(params, observation.astype(np.float32) / 255)
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


# Shapes, types and sizes.


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_and_types(name, dtype):
    encoder = make_encoder(name, width=1, num_features=24, dtype=dtype)
    assert {leaf.dtype for leaf in shapes_of(encoder).values()} == {jnp.dtype("float32")}
    params = abstract_params(encoder)
    for batch in (1, 5):
        out = jax.eval_shape(
            encoder.apply, params, jax.ShapeDtypeStruct((batch, 84, 84, 4), jnp.uint8)
        )
        assert (out.shape, out.dtype) == ((batch, 24), jnp.float32)


def test_bfloat16_is_the_type_of_the_computation_only():
    half, full = (
        make_encoder("nature", width=1, num_features=32, dtype=dtype)
        for dtype in ("bfloat16", "float32")
    )
    params = random_params(half)
    observation = observations(2)
    rough, exact = (np.asarray(e.apply(params, observation)) for e in (half, full))
    # Every number is a bfloat16 number, close to the exact number but not equal.
    np.testing.assert_array_equal(rough, rough.astype(jnp.bfloat16).astype(np.float32))
    np.testing.assert_allclose(rough, exact, rtol=0.05, atol=0.02)
    assert (rough != exact).any()


@pytest.mark.parametrize(
    ("name", "width", "num_features", "count"),
    [
        # 84 -> 21 -> 11 -> 11 (SAME): 8*8*4*32+32, 4*4*32*64+64, 3*3*64*64+64, 11*11*64*512+512.
        ("nature", 1, 512, 8_224 + 32_832 + 36_928 + 3_965_440),
        # Twice the channels: 8*8*4*64+64, 4*4*64*128+128, 3*3*128*128+128, 11*11*128*512+512.
        ("nature", 2, 512, 16_448 + 131_200 + 147_584 + 7_930_368),
        # 84 -> 42 -> 21 -> 11. Stages: 592 + 4 * 2_320, 4_640 + 4 * 9_248, 5 * 9_248; the dense
        # layer 11*11*32*512+512.
        ("impala", 1, 512, 9_872 + 41_632 + 46_240 + 1_982_976),
        ("impala", 1, 16, 9_872 + 41_632 + 46_240 + 11 * 11 * 32 * 16 + 16),
    ],
)
def test_numbers_of_parameters_by_hand(name, width, num_features, count):
    encoder = make_encoder(name, width=width, num_features=num_features)
    assert sum(leaf.size for leaf in shapes_of(encoder).values()) == count


@pytest.mark.parametrize(
    ("name", "channels"), [("nature", [32, 64, 64]), ("impala", [16] * 5 + [32] * 10)]
)
@pytest.mark.parametrize("width", [1, 2, 4])
def test_width_multiplies_channels(name, channels, width):
    shapes = shapes_of(make_encoder(name, width=width, num_features=7))
    got = [shapes[f"['Conv_{i}']['kernel']"].shape[-1] for i in range(len(channels))]
    assert got == [width * each for each in channels]
    assert shapes["['Dense_0']['kernel']"].shape == (11 * 11 * width * channels[-1], 7)


# The max-pool of Impala.


def pool_reference(x):
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")


@pytest.mark.parametrize(
    ("height", "width", "dtype"),
    [(84, 84, "float32"), (42, 42, "float32"), (21, 21, "float32"), (42, 21, "bfloat16")]
    + [(21, 84, "float32"), (1, 2, "float32")],
)
def test_max_pool_equals_that_of_flax(height, width, dtype):
    # All inputs are negative, so that padding with zeros would change the result.
    x = np.random.default_rng(height).normal(-5, 1, (2, height, width, 3)).astype(dtype)
    got, expected = jax.jit(max_pool)(x), jax.jit(pool_reference)(x)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("size", [84, 42, 21])
def test_gradient_of_max_pool_equals_that_of_flax(size):
    # No two entries tie. Cotangents are small integers, whose sums are exact in any order.
    rng = np.random.default_rng(size)
    x = jnp.asarray(rng.permutation(2 * size * size * 3).reshape(2, size, size, 3), jnp.float32)
    out = pool_reference(x)
    cotangent = jnp.asarray(rng.integers(-9, 10, out.shape), jnp.float32)
    got, expected = (
        jax.jit(lambda x, pool=pool: jax.vjp(pool, x)[1](cotangent)[0])(x)
        for pool in (max_pool, pool_reference)
    )
    np.testing.assert_array_equal(got, expected)


def test_gradient_of_max_pool_is_shared_where_entries_tie():
    gradient = jax.jit(jax.grad(lambda x: max_pool(x).sum()))(np.zeros((1, 2, 2, 1), np.float32))
    np.testing.assert_array_equal(gradient[0, :, :, 0], np.full((2, 2), 0.25))


# A user's own encoder.


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own_encoders.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize("name", ["FlaxOwn", "HaikuOwn"])
def test_own_encoder_from_a_file(own, name):
    relative, absolute = (
        make_encoder(f"{where}:{name}", width=2, num_features=5, folder=folder)
        for where, folder in [("own_encoders.py", own), (f"{own}/own_encoders.py", ".")]
    )
    params = init_encoder(relative, 0)
    jax.tree.map(np.testing.assert_array_equal, params, init_encoder(absolute, 0))
    # 4 * 4 * 4 pixels to 3 * 2 to 5: linear in x / 255 (the Haiku encoder has a ReLU between).
    weights = {
        "FlaxOwn": lambda p: (p["Dense_0"]["kernel"], p["Dense_1"]["kernel"]),
        "HaikuOwn": lambda p: (p["mlp/~/linear_0"]["w"], p["mlp/~/linear_1"]["w"]),
    }[name](params)
    assert [w.shape for w in weights] == [(64, 6), (6, 5)]
    observation = observations(3)
    hidden = observation[:, ::21, ::21].reshape(3, -1).astype(np.float32) / 255 @ weights[0]
    expected = (jnp.maximum(hidden, 0) if name == "HaikuOwn" else hidden) @ weights[1]
    for encoder in (relative, absolute):
        got = encoder.apply(params, observation)
        assert (got.shape, got.dtype) == ((3, 5), jnp.float32)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_weights_are_a_function_of_the_seed(own):
    encoder = make_encoder("own_encoders.py:FlaxOwn", width=1, num_features=8, folder=own)
    first, again, other = (init_encoder(encoder, seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first["Dense_0"]["kernel"], other["Dense_0"]["kernel"])


def test_own_encoder_from_a_package(own, monkeypatch):
    package = own / "people_of_pvn"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(own)
    importlib.invalidate_caches()
    by_name = make_encoder("people_of_pvn.nets:FlaxOwn", width=1, num_features=5)
    by_file = make_encoder("own_encoders.py:FlaxOwn", width=1, num_features=5, folder=own)
    params = init_encoder(by_name, 3)
    jax.tree.map(np.testing.assert_array_equal, params, init_encoder(by_file, 3))
    observation = observations(2)
    np.testing.assert_array_equal(
        by_name.apply(params, observation), by_file.apply(params, observation)
    )


def test_own_encoder_gets_the_type_of_its_computation(own):
    encoder = make_encoder(
        "own_encoders.py:FlaxOwn", width=1, num_features=5, dtype="bfloat16", folder=own
    )
    params = init_encoder(encoder, 0)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out = np.asarray(encoder.apply(params, observations(2)))
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, out.astype(jnp.bfloat16).astype(np.float32))


@pytest.mark.parametrize("seed", [-1, 2**31, 2**32, 2**63])
def test_seeds_out_of_range(own, seed):
    encoder = make_encoder("own_encoders.py:FlaxOwn", width=1, num_features=5, folder=own)
    with pytest.raises(UserError) as caught:
        init_encoder(encoder, seed)
    expected = f"seed: {seed}, expected a whole number, from 0 to {2**31 - 1}"
    assert str(caught.value) == expected


def test_a_neighbour_that_is_imported_when_the_network_is_traced(own):
    (own / "sizes.py").write_text("hidden = 6\n")
    late = OWN.replace("x = nn.Dense(3 * self.width,", "import sizes; x = nn.Dense(sizes.hidden,")
    (own / "late.py").write_text(late)
    encoder = make_encoder("late.py:FlaxOwn", width=1, num_features=5, folder=own)
    (own / "sizes.py").unlink()  # it is already loaded
    assert init_encoder(encoder, 0)["Dense_0"]["kernel"].shape == (64, 6)


NEITHER = "expected a flax.linen Module or a haiku.Transformed"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "resnet",
            "encoder 'resnet': expected one of nature, nature_xavier, impala, minatar, "
            "`path/to/file.py:Name` or `package.module:Name`",
        ),
        ("gone.py:Own", "encoder gone.py:Own: there is no file {own}/gone.py"),
        (
            "own_encoders.py:Gone",
            "encoder own_encoders.py:Gone: own_encoders.py defines no 'Gone'",
        ),
        ("no_such_package:Own", "encoder no_such_package:Own: No module named 'no_such_package'"),
        ("os.path:Own", "encoder os.path:Own: os.path defines no 'Own'"),
        (
            "own_encoders.py:Narrow",
            "encoder own_encoders.py:Narrow: maps 2 observations to shape (2, 4), expected (2, 5), "
            "as num_features says",
        ),
        (
            "own_encoders.py:Flat",
            "encoder own_encoders.py:Flat: maps 2 observations to shape (10,), expected (2, 5), "
            "as num_features says",
        ),
        (
            "own_encoders.py:WithStatistics",
            "encoder own_encoders.py:WithStatistics: keeps state (batch_stats) besides its "
            "parameters, which no part of pvn would update; use a layer without it",
        ),
        (
            "own_encoders.py:stateful",
            f"encoder own_encoders.py:stateful: gave a TransformedWithState, {NEITHER}",
        ),
        (
            "own_encoders.py:function",
            f"encoder own_encoders.py:function: gave a function, {NEITHER}",
        ),
        (
            "own_encoders.py:bare",
            "encoder own_encoders.py:bare: TypeError: bare() got an unexpected keyword argument "
            "'width'",
        ),
        (
            "own_encoders.py:Breaks",
            "encoder own_encoders.py:Breaks: own_encoders.py, line 51: TypeError: dot_general "
            "requires contracting dimensions to have the same shape, got (64,) and (2,).",
        ),
        (
            "own_encoders.py:Half",
            "encoder own_encoders.py:Half: parameter Dense_0.bias is bfloat16, expected float32 "
            "(dtype is the type of the computation)",
        ),
    ],
)
def test_what_is_wrong_with_an_encoder(own, name, text):
    with pytest.raises(UserError) as caught:
        make_encoder(name, width=1, num_features=5, folder=own)
    assert str(caught.value) == text.format(own=own)


def test_own_encoder_with_postponed_annotations(own):
    (own / "own_encoders.py").write_text("from __future__ import annotations\n" + OWN)
    make_encoder("own_encoders.py:FlaxOwn", width=1, num_features=5, folder=own)
