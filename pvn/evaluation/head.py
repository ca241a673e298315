"""The head on the features: layers, and how their outputs become action values.

The last layer has K outputs for each action. A `Values` says what they are: the action value itself
(K = 1), or a distribution over K values (`pvn.evaluation.values`). A linear head is one layer.
"""

import itertools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from pvn.types import Array


class Layer(NamedTuple):
    """A dense layer: x @ kernel + bias."""

    kernel: Array  # float32 [inputs, outputs]
    bias: Array  # float32 [outputs]


Head = tuple[Layer, ...]
"""Dense layers with a ReLU between them. The last layer has A * K outputs."""


def init_head(
    num_features: int,
    num_outputs: int,
    hidden: tuple[int, ...] = (),
    seed: int = 0,
    random_output: bool = False,
) -> Head:
    """A head before it has learned. Biases are 0, random kernels are Xavier-uniform.

    Args:
      num_features: F.
      num_outputs: A * K.
      hidden: units of each hidden layer; their kernels are random.
      seed: seed of the kernels.
      random_output: whether the last kernel is random too; if not, all outputs are 0.
    """
    sizes = (num_features, *hidden)
    key = jax.random.key(seed)
    keys = jax.random.split(key, max(len(hidden), 1))
    draw = jax.nn.initializers.xavier_uniform()
    layers = [
        Layer(draw(key, size), jnp.zeros(size[1]))
        for key, size in zip(keys, itertools.pairwise(sizes), strict=False)
    ]
    last = jnp.zeros((sizes[-1], num_outputs))
    if random_output:
        last = draw(jax.random.fold_in(key, len(hidden)), last.shape)
    return (*layers, Layer(last, jnp.zeros(num_outputs)))


def outputs(head: Head, features: Array, num_actions: int) -> jax.Array:
    """The outputs of the last layer, float32 [B, A, K], of features float32 [B, F]."""
    chex.assert_rank(features, 2)
    x = features
    for number, layer in enumerate(head):
        x = jax.nn.relu(x) if number else x
        x = x @ layer.kernel + layer.bias[None]
    return x.reshape(len(features), num_actions, -1)


def is_finite(head: Head) -> bool:
    """Whether all weights are finite."""
    return all(bool(np.isfinite(weights).all()) for layer in head for weights in layer)
