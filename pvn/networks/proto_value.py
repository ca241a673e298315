"""The network that is pretrained: an encoder, and T linear heads of A values as one block."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from pvn.networks.network import Network, Params, as_network


class TaskHeads(nn.Module):
    """One dense layer to A values for each of T tasks: float32 [B, F] to [B, T, A].

    The kernel [F, T, A] is one array, so that 100,000 heads are one matrix product; each head
    starts as if it stood alone (fan-in F). Always float32: a head's values sum over a horizon.
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
    """Observations to successor-measure values [B, T, A]; params: `encoder` and `heads`.

    use_bias: a head's bias is a constant feature besides the F of the encoder, which theory does
      not count (`pvn.tabular`).
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
