"""The encoder of a state that is told and not seen."""

from flax import linen as nn

from pvn.networks.network import Network, as_network


def table_encoder(num_features: int) -> Network:
    """A row of F learned features for each state: float32 [B, S], one-hot rows, to [B, F].

    Linear, so a distribution over states gives its expected features.
    """
    initializer = nn.initializers.normal(num_features**-0.5)
    return as_network(nn.Dense(num_features, use_bias=False, kernel_init=initializer), "table")
