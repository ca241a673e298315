"""The encoder of Young and Tian, "MinAtar: An Atari-inspired testbed" (2019)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pvn.networks.feature_layer import feature_layer


class MinAtar(nn.Module):
    """Maps uint8 [B, H, W, C] of zeros and ones, such as [B, 10, 10, C], to [B, F] in `dtype`.

    A convolution of 3x3 without padding, stride 1, has 16 times `width` channels. A dense layer to
    F (`feature_layer`) follows. A relu follows the convolution.
    """

    num_features: int
    width: int = 1
    dtype: Any = jnp.float32
    feature_norm: str = "none"
    feature_activation: str = "relu"

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        x = observation.astype(self.dtype)
        x = nn.relu(nn.Conv(16 * self.width, (3, 3), padding="VALID", dtype=self.dtype)(x))
        return feature_layer(
            x,
            self.num_features,
            norm=self.feature_norm,
            activation=self.feature_activation,
            dtype=self.dtype,
        )
