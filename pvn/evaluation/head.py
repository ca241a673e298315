"""The linear head that every learner fits, and greedy actions from it."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from pvn.features import Features
from pvn.types import Array


class LinearHead(NamedTuple):
    """Action values that are linear in the features: Q(s, a) = x(s) @ kernel[:, a] + bias[a]."""

    kernel: Array  # float32 [F, A]
    bias: Array  # float32 [A]


Act = Callable[[LinearHead, np.ndarray], tuple[jax.Array, jax.Array]]
"""(head, observations uint8 [E, 84, 84, 4]) -> (features float32 [E, F], greedy actions [E])."""


def zero_head(num_features: int, num_actions: int) -> LinearHead:
    """A head whose action values are all 0."""
    return LinearHead(jnp.zeros((num_features, num_actions)), jnp.zeros(num_actions))


def q_values(head: LinearHead, features: jax.Array) -> jax.Array:
    """Action values float32 [B, A] of features float32 [B, F]."""
    chex.assert_rank([features, head.kernel, head.bias], [2, 2, 1])
    chex.assert_shape(head.kernel, (features.shape[1], head.bias.shape[0]))
    return features @ head.kernel + head.bias[None]


def is_finite(head: LinearHead) -> bool:
    """Whether all weights are finite."""
    return all(bool(np.isfinite(weights).all()) for weights in head)


def make_act(features: Features) -> Act:
    """An `Act` that computes features and greedy actions in one dispatch."""

    @jax.jit
    def act(
        params: object, head: LinearHead, observation: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        x = features.apply(params, observation)
        return x, jnp.argmax(q_values(head, x), axis=-1)

    return lambda head, observation: act(features.device_params, head, observation)
