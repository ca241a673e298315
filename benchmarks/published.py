"""The published formulation of the train step, on current JAX, to compare with that of pvn.

It follows the text and the code of Farebrother et al. (2023). The random networks are stacked and
evaluated inside every step, by `vmap` over their parameters. The Impala encoder has `nn.max_pool`,
the heads are a `vmap` of dense layers, and the biases are learned by quantile regression. Loss,
optimiser and target average are the same in both, so those of pvn are used.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pvn.indicators import threshold
from pvn.indicators.indicator import Indicator
from pvn.networks.nature import Nature
from pvn.networks.network import Network, Params, as_network
from pvn.networks.proto_value import ProtoValueNetwork

TASKS_PER_NETWORK = 10


class PlainImpala(nn.Module):
    """Impala with `nn.max_pool`: uint8 [B, 84, 84, 4] to features [B, F]."""

    num_features: int
    width: int = 1

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        x = observation.astype(jnp.float32) / 255
        for channels in (16, 32, 32):
            channels *= self.width
            x = nn.Conv(channels, (3, 3))(x)
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
            for _ in range(2):
                y = nn.Conv(channels, (3, 3))(nn.relu(x))
                x = x + nn.Conv(channels, (3, 3))(nn.relu(y))
        x = nn.relu(x).reshape(x.shape[0], -1)
        return nn.relu(nn.Dense(self.num_features)(x))


class PlainNetwork(nn.Module):
    """An encoder and a `vmap` of T dense layers: uint8 [B, 84, 84, 4] to [B, T, A]."""

    encoder: str
    num_features: int
    num_tasks: int
    num_actions: int

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        encoder = {"nature": Nature, "impala": PlainImpala}[self.encoder]
        features = encoder(num_features=self.num_features)(observation)
        heads = nn.vmap(
            nn.Dense,
            in_axes=None,
            out_axes=1,
            axis_size=self.num_tasks,
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )
        return heads(self.num_actions)(features)


def published_network(encoder: str, num_features: int, num_tasks: int, num_actions: int) -> Network:
    """The learning network as published: uint8 [B, 84, 84, 4] to [B, T, A]."""
    return as_network(PlainNetwork(encoder, num_features, num_tasks, num_actions), encoder)


def plain(network: Network) -> ProtoValueNetwork:
    """A network of all values [B, T, A], of which a learner reads those that it needs."""

    def action_values(params: Params, observation: jax.Array, action: jax.Array) -> jax.Array:
        values = network.apply(params, observation)
        return jnp.take_along_axis(values, action[:, None, None], axis=-1)[..., 0]

    return ProtoValueNetwork(
        network.init,
        action_values,
        mean_over_actions=lambda params: params,
        mean_values=lambda params, observation: jnp.mean(network.apply(params, observation), -1),
        max_values=lambda params, observation: jnp.max(network.apply(params, observation), -1),
    )


def published_indicator(num_tasks: int, proportion: float) -> Indicator:
    """T tasks from stacked random networks with a final ReLU, biases by quantile regression.

    num_tasks: T, a multiple of `TASKS_PER_NETWORK`.
    """
    network = as_network(Nature(num_features=TASKS_PER_NETWORK), "random")

    def init(key: jax.Array, observation: jax.Array) -> tuple[Params, jax.Array]:
        keys = jax.random.split(key, num_tasks // TASKS_PER_NETWORK)
        return jax.vmap(lambda k: network.init(k, observation))(keys), jnp.zeros(num_tasks)

    def response(frozen: Params, observation: jax.Array) -> jax.Array:
        outputs = jax.vmap(network.apply, in_axes=(0, None), out_axes=1)(frozen, observation)
        return outputs.reshape(observation.shape[0], num_tasks)

    def loss(bias: Any, responses: jax.Array) -> jax.Array:
        return threshold.quantile_loss(bias, responses, proportion)

    return Indicator(num_tasks, init, response, threshold.indicator, None, loss)
