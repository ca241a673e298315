"""Features without a network and a head by hand, for tests of what is built on them."""

import jax.numpy as jnp

from pvn.evaluation.head import Layer
from pvn.features import Features
from pvn.networks.network import Network


def pixel_features(num_features: int) -> Features:
    """The features are a few pixels of the newest frame, between 0 and 1, times a weight of 1."""

    def apply(params, observation):
        return params["weight"] * observation[:, 0, :num_features, -1].astype(jnp.float32) / 255

    metadata = {"encoder": "pixels", "width": 1, "num_features": num_features, "dtype": "float32"}
    params = {"weight": jnp.ones((1, num_features))}
    return Features(Network(lambda *_: params, apply), params, metadata)


def linear_head(kernel, bias):
    """A head of one layer: Q(s, a) = x(s) @ kernel[:, a] + bias[a]."""
    return (Layer(kernel, bias),)
