"""The count of FLOP, against closed forms and against XLA's count of single operations."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from pvn.pretraining.flop import count_flop

A, B = jnp.ones((3, 5)), jnp.ones((5, 7))
PRODUCT = 2 * 3 * 5 * 7


def loop(a: jax.Array) -> jax.Array:
    square = jnp.ones((5, 5))
    return jax.lax.scan(lambda x, _: (x @ square, None), a, length=4)[0]


@pytest.mark.parametrize(
    ("function", "flop"),
    [
        (lambda a: a @ B, PRODUCT),
        (lambda a: jnp.einsum("bft,bf->bt", jnp.ones((3, 5, 7)), a), PRODUCT),
        (lambda a: a.astype(int) @ B.astype(int), PRODUCT),
        (lambda a: jax.nn.relu(jax.jit(lambda x: x @ B)(a) + 1), PRODUCT),
        (jax.grad(lambda a: jnp.sum((a @ B) ** 2)), 2 * PRODUCT),
        (loop, 4 * 2 * 3 * 5 * 5),
        (lambda a: a + 1, 0),
    ],
)
def test_products(function: Callable, flop: int) -> None:
    assert count_flop(function, A) == flop


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1)},
        {"window_strides": (4, 3)},
        {"window_strides": (2, 2), "rhs_dilation": (2, 3)},
        {"window_strides": (2, 1), "feature_group_count": 2},
    ],
)
def test_convolutions_and_their_gradients(options: dict, padding: str) -> None:
    image, kernel = jnp.ones((2, 13, 12, 4)), jnp.ones((5, 3, 4, 6))
    if "feature_group_count" in options:
        kernel = kernel[:, :, :2]

    def convolve(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            image, kernel, padding=padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
        )

    out = convolve(image, kernel)
    cases = [
        (convolve, image, kernel),
        (lambda y: jax.linear_transpose(lambda x: convolve(x, kernel), image)(y), out),
        (lambda y: jax.linear_transpose(lambda x: convolve(image, x), kernel)(y), out),
    ]
    for case in cases:
        xla = jax.jit(case[0]).lower(*case[1:]).cost_analysis()["flops"]
        assert count_flop(*case) == xla
