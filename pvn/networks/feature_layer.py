"""The last layer of pvn's encoders: dense to F features, normalised or not, then an activation."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
    "none": lambda x: x,
}
"""The names of `feature_activation`."""

LECUN = nn.initializers.lecun_normal()

NORMS = ("none", "layer_norm")
"""The names of `feature_norm`: what is between the dense layer and the activation."""


def feature_layer(
    x: jax.Array,
    num_features: int,
    *,
    norm: str,
    activation: str,
    dtype: Any,
    kernel_init: Any = LECUN,
) -> jax.Array:
    """[B, ...] to [B, F] in `dtype`. To be called in the compact method of a Flax module.

    With LayerNorm (Ba et al. 2016) a unit is hardly ever 0 in every state: the layer cannot lower
    all of its units together.
    """
    x = x.reshape(x.shape[0], -1)
    x = nn.Dense(num_features, dtype=dtype, kernel_init=kernel_init)(x)
    if norm == "layer_norm":
        x = nn.LayerNorm(dtype=dtype)(x)
    return ACTIVATIONS[activation](x)
