"""The network that is pretrained: an encoder, and T linear heads of A values in one array."""

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
