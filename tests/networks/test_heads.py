"""Heads against all values, computed in NumPy, and against lone dense layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pvn.networks.heads import (
    Heads,
    action_values,
    init_heads,
    max_values,
    mean_over_actions,
    mean_values,
)


def drawn(seed: int, tasks: int, actions: int, rows: int, use_bias: bool) -> tuple[Heads, ...]:
    random = np.random.default_rng(seed)
    heads = {"kernel": random.normal(size=(actions, 6, tasks)).astype(np.float32)}
    if use_bias:
        heads["bias"] = random.normal(size=(actions, tasks)).astype(np.float32)
    features = random.normal(size=(rows, 6)).astype(np.float32)
    return heads, features, random.integers(actions, size=rows)  # type: ignore[return-value]


def all_values(heads: Heads, features: jax.Array) -> jax.Array:
    """The plain form: float32 [B, A, T]."""
    values = jnp.einsum("bf,aft->bat", features, heads["kernel"])
    return values + heads["bias"][None] if "bias" in heads else values


@pytest.mark.parametrize(
    ("tasks", "actions", "rows", "use_bias"),
    [(1, 1, 1, True), (5, 1, 4, True), (1, 18, 7, True), (9, 6, 40, True), (9, 6, 5, False)],
)
def test_values_and_gradients_are_those_of_the_plain_form(
    tasks: int, actions: int, rows: int, use_bias: bool
) -> None:
    heads, features, action = drawn(0, tasks, actions, rows, use_bias)
    weights = np.random.default_rng(1).normal(size=(rows, tasks)).astype(np.float32)

    def plain(heads: Heads, features: jax.Array) -> jax.Array:
        return all_values(heads, features)[np.arange(rows), action]

    def ours(heads: Heads, features: jax.Array) -> jax.Array:
        return action_values(heads, features, jnp.asarray(action))

    for function in (lambda f: f, lambda f: jax.grad(lambda *x: jnp.sum(weights * f(*x)), (0, 1))):
        expected, found = (function(f)(heads, features) for f in (plain, ours))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5), found, expected
        )
    mean = mean_values(mean_over_actions(heads), features)
    values = all_values(heads, features)
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-6, atol=1e-5)
    largest = max_values(heads, features)
    np.testing.assert_allclose(largest, values.max(axis=1), rtol=1e-6, atol=1e-5)


def test_values_by_hand() -> None:
    """One feature, two actions, two tasks."""
    heads = {"kernel": jnp.array([[[1.0, 2]], [[3, 4]]]), "bias": jnp.array([[0.0, 10], [20, 0]])}
    features = jnp.array([[1.0], [2]])
    values = action_values(heads, features, jnp.array([1, 0]))
    np.testing.assert_array_equal(values, [[23, 4], [2, 14]])
    np.testing.assert_array_equal(
        mean_values(mean_over_actions(heads), features), [[12, 8], [14, 11]]
    )
    np.testing.assert_array_equal(max_values(heads, features), [[23, 12], [26, 14]])


@pytest.mark.parametrize("num_features", [64, 400])
def test_a_head_starts_as_a_lone_layer(num_features: int) -> None:
    # Compares 40 heads with 40 dense layers. A fan-in or fan-out that counts tasks is far off.
    features = jnp.zeros((1, num_features))
    heads = init_heads(jax.random.key(0), num_features, 40, 50)
    lone = jax.vmap(lambda key: nn.Dense(50).init(key, features)["params"]["kernel"])(
        jax.random.split(jax.random.key(1), 40)
    )
    assert heads["bias"].shape == (50, 40)
    assert not heads["bias"].any()
    kernel = heads["kernel"]
    assert (kernel.shape, kernel.dtype) == ((50, num_features, 40), jnp.float32)
    scale = num_features**-0.5
    assert float(kernel.std()) == pytest.approx(scale, rel=0.02)
    assert float(lone.std()) == pytest.approx(scale, rel=0.02)
    np.testing.assert_allclose(kernel.std(axis=(0, 1)), scale, rtol=0.1)
    # Flax truncates the normal at two standard deviations; its spread is then 0.8796 times.
    assert float(jnp.abs(kernel).max()) <= 2 * scale / 0.8796
    np.testing.assert_allclose(kernel.mean(axis=(0, 1)), 0, atol=0.1 * scale)


def test_heads_without_bias_are_linear() -> None:
    heads = init_heads(jax.random.key(0), 4, 3, 2, use_bias=False)
    assert list(heads) == ["kernel"]
    assert not np.any(action_values(heads, jnp.zeros((2, 4)), jnp.array([0, 1])))


@pytest.mark.parametrize(
    ("features", "action"),
    [(jnp.ones((2, 3, 4)), jnp.zeros(2, int)), (jnp.ones((2, 4)), jnp.zeros(3, int))],
)
def test_wrong_shapes_are_refused(features: jax.Array, action: jax.Array) -> None:
    with pytest.raises(AssertionError):
        action_values(init_heads(jax.random.key(0), 4, 3, 2), features, action)
