"""The encoder of Mnih et al., "Human-level control through deep reinforcement learning" (2015)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pvn.networks.feature_layer import LECUN, feature_layer


class Nature(nn.Module):
    """Maps uint8 [B, H, W, C], such as [B, 84, 84, 4], to [B, F] in `dtype`. Scales to [0, 1].

    Three convolutions with padding SAME have 32 (8x8, stride 4), 64 (4x4, stride 2) and 64 (3x3,
    stride 1) times `width` channels. A relu follows each. The last layer is `feature_layer`.
    `kernel_init` draws the first kernels: LeCun-normal, or as in Dopamine Xavier-uniform.
    """

    num_features: int
    width: int = 1
    dtype: Any = jnp.float32
    feature_norm: str = "none"
    feature_activation: str = "relu"
    kernel_init: Any = LECUN

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        x = observation.astype(self.dtype) / 255
        for channels, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            layer = nn.Conv(
                *(channels * self.width, (size, size), stride),
                dtype=self.dtype,
                kernel_init=self.kernel_init,
            )
            x = nn.relu(layer(x))
        return feature_layer(
            x,
            self.num_features,
            norm=self.feature_norm,
            activation=self.feature_activation,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
        )
