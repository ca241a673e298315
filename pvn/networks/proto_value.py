"""The networks that are pretrained: an encoder, and what predicts from its features."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from pvn.networks.network import Network, Params, as_network


class TaskHeads(nn.Module):
    """One dense layer to A values for each of T tasks: float32 [B, F] to [B, T, A].

    The kernel [F, T, A] is one array, so all heads together are one matrix product. Each head is
    initialised like a single dense layer (fan-in F). Heads always compute in float32, because
    their values are sums over a horizon.
    """

    num_tasks: int
    num_actions: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        shape = (self.num_tasks, self.num_actions)
        return nn.DenseGeneral(shape, use_bias=self.use_bias)(features)


def make_proto_value_network(
    encoder: Network, num_tasks: int, num_actions: int, *, use_bias: bool = True
) -> Network:
    """Maps observations to successor-measure values [B, T, A].

    Its parameters are {"encoder": ..., "heads": ...}.

    Args:
      encoder: maps observations to features [B, F].
      num_tasks: T.
      num_actions: A.
      use_bias: whether heads have a bias. A bias acts as an additional constant feature. The theory
        that `pvn.tabular` checks has no such feature.
    """
    heads = as_network(TaskHeads(num_tasks, num_actions, use_bias), "heads")

    def init(key: jax.Array, observation: jax.Array) -> Params:
        encoder_key, heads_key = jax.random.split(key)
        params = encoder.init(encoder_key, observation)
        features = encoder.apply(params, observation)
        return {"encoder": params, "heads": heads.init(heads_key, jnp.zeros_like(features))}

    def apply(params: Params, observation: jax.Array) -> jax.Array:
        return heads.apply(params["heads"], encoder.apply(params["encoder"], observation))

    return Network(init, apply)


def head_arrays(params: Params) -> dict[str, jax.Array]:
    """The arrays of all heads of a proto-value network: kernel [F, T, A] and bias [T, A]."""
    return params["heads"]["DenseGeneral_0"]


class InverseHead(nn.Module):
    """Logits of the action between two states, of their features: float32 [B, 2 F] to [B, A]."""

    num_actions: int
    hidden: int = 256

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        x = nn.relu(nn.Dense(self.hidden)(features))
        return nn.Dense(self.num_actions)(x)


def make_inverse_network(encoder: Network, num_actions: int) -> Network:
    """Maps pairs of observations uint8 [B, 2, H, W, C] to logits of the actions [B, A].

    Its parameters are {"encoder": ..., "heads": ...}.

    Args:
      encoder: maps observations to features [B, F].
      num_actions: A.
    """
    head = as_network(InverseHead(num_actions), "inverse dynamics")

    def encode(params: Params, pairs: jax.Array) -> jax.Array:
        features = encoder.apply(params, pairs.reshape(-1, *pairs.shape[2:]))
        return features.reshape(len(pairs), -1)

    def init(key: jax.Array, pairs: jax.Array) -> Params:
        encoder_key, head_key = jax.random.split(key)
        params = encoder.init(encoder_key, pairs[:, 0])
        return {"encoder": params, "heads": head.init(head_key, encode(params, pairs))}

    def apply(params: Params, pairs: jax.Array) -> jax.Array:
        return head.apply(params["heads"], encode(params["encoder"], pairs))

    return Network(init, apply)
