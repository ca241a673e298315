"""The network of Mnih et al., "Playing Atari with deep reinforcement learning" (2013).

It needs a fifth of the operations of `nature`, so that agents that make data learn in less than an
hour on one core.
"""

from typing import Any

import jax
from flax import linen as nn


class Mnih2013(nn.Module):
    """Maps uint8 [B, 84, 84, C] to float32 [B, F].

    Two convolutions without padding have 16 (8x8, stride 4) and 32 (4x4, stride 2) times `width`
    channels. A dense layer follows, and a relu each layer. All kernels are drawn Xavier-uniform.
    """

    num_features: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        x = observation.astype(self.dtype) / 255
        init = nn.initializers.xavier_uniform()
        for channels, size, stride in ((16, 8, 4), (32, 4, 2)):
            layer = nn.Conv(
                *(channels * self.width, (size, size), stride),
                padding="VALID",
                dtype=self.dtype,
                kernel_init=init,
            )
            x = nn.relu(layer(x))
        x = nn.Dense(self.num_features, dtype=self.dtype, kernel_init=init)(x.reshape(len(x), -1))
        return nn.relu(x)
