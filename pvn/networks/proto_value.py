"""The networks that are pretrained: an encoder, and what predicts from its features."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import linen as nn

from pvn.networks import heads
from pvn.networks.network import Network, Params, as_network


class ProtoValueNetwork(NamedTuple):
    """Successor-measure values of T tasks and A actions, as a learner needs them."""

    init: Callable[[jax.Array, jax.Array], Params]
    """(key, observation [B, ...]) -> parameters {"encoder": ..., "heads": ...}."""

    action_values: Callable[[Params, jax.Array, jax.Array], jax.Array]
    """(parameters, observation, action int32 [B]) -> values of these actions, float32 [B, T]."""

    mean_over_actions: Callable[[Params], Params]
    """Parameters -> those of `mean_values`, A times fewer in the heads, and linear in these."""

    mean_values: Callable[[Params, jax.Array], jax.Array]
    """(parameters of `mean_over_actions`, observation) -> mean values over actions [B, T]."""

    max_values: Callable[[Params, jax.Array], jax.Array]
    """(parameters, observation) -> largest values over actions, of each task its own [B, T]."""


def make_proto_value_network(
    encoder: Network, num_tasks: int, num_actions: int, *, use_bias: bool = True
) -> ProtoValueNetwork:
    """An encoder and its linear heads (`pvn.networks.heads`).

    Args:
      encoder: maps observations to features [B, F].
      num_tasks: T.
      num_actions: A.
      use_bias: whether heads have a bias. A bias acts as an additional constant feature. The theory
        that `pvn.tabular` checks has no such feature.
    """

    def init(key: jax.Array, observation: jax.Array) -> Params:
        encoder_key, heads_key = jax.random.split(key)
        params = encoder.init(encoder_key, observation)
        num_features = encoder.apply(params, observation).shape[1]
        drawn = heads.init_heads(heads_key, num_features, num_tasks, num_actions, use_bias=use_bias)
        return {"encoder": params, "heads": drawn}

    def features(params: Params, observation: jax.Array) -> jax.Array:
        return encoder.apply(params["encoder"], observation)

    return ProtoValueNetwork(
        init,
        action_values=lambda params, observation, action: heads.action_values(
            params["heads"], features(params, observation), action
        ),
        mean_over_actions=lambda params: {
            **params,
            "heads": heads.mean_over_actions(params["heads"]),
        },
        mean_values=lambda params, observation: heads.mean_values(
            params["heads"], features(params, observation)
        ),
        max_values=lambda params, observation: heads.max_values(
            params["heads"], features(params, observation)
        ),
    )


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
