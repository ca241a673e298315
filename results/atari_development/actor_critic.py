"""The encoder of Ilya Kostrikov's actor-critic agents (pytorch-a2c-ppo-acktr-gail), in Flax."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class ActorCritic(nn.Module):
    """Maps uint8 [B, 84, 84, 4] to [B, F]: three convolutions without padding, a dense layer."""

    num_features: int
    width: int
    dtype: Any

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        x = observation.astype(self.dtype) / 255
        for channels, size, stride in ((32, 8, 4), (64, 4, 2), (32, 3, 1)):
            convolution = nn.Conv(
                channels * self.width, (size, size), stride, padding="VALID", dtype=self.dtype
            )
            x = nn.relu(convolution(x))
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)  # the order of PyTorch
        return nn.relu(nn.Dense(self.num_features, dtype=self.dtype)(x))
