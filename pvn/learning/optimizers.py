"""Optimisers by name, and the scaling of the learning rate with the batch size."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Rate = float | Callable[[jax.Array], jax.Array]
"""A learning rate, or one for each number of updates before."""

OPTIMIZERS: dict[str, Callable[[Rate, float], optax.GradientTransformation]] = {
    "adam": lambda rate, epsilon: optax.adam(rate, eps=epsilon),
    "rmsprop": lambda rate, epsilon: optax.rmsprop(rate, eps=epsilon, centered=True),
    "sgd": lambda rate, epsilon: optax.sgd(rate),
}


def learning_rate_scale(batch_size: int, exponent: float) -> float:
    """(batch_size / 32)^exponent, by which learning rates are multiplied; for any batch size."""
    return (batch_size / 32) ** exponent


def make_optimizer(
    name: str,
    *,
    learning_rate: float,
    epsilon: float,
    max_gradient_norm: float,
    warmup: int = 0,
) -> optax.GradientTransformation:
    """The optimiser called `name`, one of `OPTIMIZERS`.

    Args:
      name: of the optimiser.
      learning_rate: after the warm-up.
      epsilon: of Adam and RMSProp.
      max_gradient_norm: gradients with a larger global norm are scaled down to it; 0: no clipping.
      warmup: updates W over which the learning rate rises: that of update k is k / W times
        `learning_rate`; 0: none.
    """

    def rising(updates: jax.Array) -> jax.Array:
        return learning_rate * jnp.minimum(1.0, (updates + 1) / warmup)

    optimizer = OPTIMIZERS[name](rising if warmup else learning_rate, epsilon)
    if max_gradient_norm == 0:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(max_gradient_norm), optimizer)
