"""The encoder for numbered states, without images."""

from flax import linen as nn

from pvn.networks.network import Network, as_network


def table_encoder(num_features: int) -> Network:
    """A table with F learned features for each state: one-hot rows float32 [B, S] -> [B, F].

    It is linear. So a row that is a distribution over states gives the expected features.
    """
    initializer = nn.initializers.normal(num_features**-0.5)
    return as_network(nn.Dense(num_features, use_bias=False, kernel_init=initializer), "table")
