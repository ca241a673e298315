"""The residual encoder of Espeholt et al., "IMPALA" (2018), as in the published PVN code."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pvn.networks.feature_layer import feature_layer


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 3 x 3 windows of [B, H, W, C], with stride 2 and padding SAME.

    It pools one axis after the other. Along an axis, output i is the maximum of the padded entries
    2i, 2i + 1 and 2i + 2: pair i, and the first entry of pair i + 1. The values equal those of
    `nn.max_pool`. Its gradient (select-and-scatter) would take a quarter of a training step on a
    CPU. Equal maxima share the gradient here; in `nn.max_pool` the first one gets all of it.
    """
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (x.shape[axis] % 2, 0)  # for an odd size, SAME pads one row in front
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        first, second = (jax.lax.index_in_dim(pairs, i, axis + 1, False) for i in (0, 1))
        pads[axis] = (0, 1)
        after = jax.lax.slice_in_dim(first, 1, None, axis=axis)
        third = jnp.pad(after, pads, constant_values=-jnp.inf)
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


class Impala(nn.Module):
    """Maps uint8 [B, 84, 84, 4] to [B, F] in `dtype`, and scales the pixels to [0, 1].

    Three stages have (16, 32, 32) times `width` channels. A relu and `feature_layer` follow. A
    stage is a 3x3 convolution, a 3x3 max-pool of stride 2 and two residual blocks. Kernels are
    initialised Xavier-uniform.
    """

    num_features: int
    width: int = 1
    dtype: Any = jnp.float32
    feature_norm: str = "none"
    feature_activation: str = "relu"

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        initializer = nn.initializers.xavier_uniform()

        def conv(x: jax.Array, channels: int) -> jax.Array:
            return nn.Conv(channels, (3, 3), dtype=self.dtype, kernel_init=initializer)(x)

        x = observation.astype(self.dtype) / 255
        for channels in (16, 32, 32):
            channels *= self.width
            x = conv(x, channels)
            x = max_pool(x)
            for _ in range(2):
                y = conv(nn.relu(x), channels)
                x = x + conv(nn.relu(y), channels)
        return feature_layer(
            nn.relu(x),
            self.num_features,
            norm=self.feature_norm,
            activation=self.feature_activation,
            dtype=self.dtype,
            kernel_init=initializer,
        )
