"""Optimisers by name, and the scaling of the learning rate with the batch size."""

from collections.abc import Callable

import optax

OPTIMIZERS: dict[str, Callable[[float, float], optax.GradientTransformation]] = {
    "adam": lambda rate, epsilon: optax.adam(rate, eps=epsilon),
    "rmsprop": lambda rate, epsilon: optax.rmsprop(rate, eps=epsilon, centered=True),
    "sgd": lambda rate, epsilon: optax.sgd(rate),
}


def learning_rate_scale(batch_size: int, exponent: float) -> float:
    """(batch_size / 32)^exponent, by which learning rates are multiplied; for any batch size."""
    return (batch_size / 32) ** exponent


def make_optimizer(
    name: str, *, learning_rate: float, epsilon: float, max_gradient_norm: float
) -> optax.GradientTransformation:
    """The optimiser called `name`, one of `OPTIMIZERS`.

    max_gradient_norm: gradients with a larger global norm are scaled down to it; 0: no clipping.
    """
    optimizer = OPTIMIZERS[name](learning_rate, epsilon)
    if max_gradient_norm == 0:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(max_gradient_norm), optimizer)
