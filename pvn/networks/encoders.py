"""Encoders by name: those of pvn, and a user's own."""

import functools
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pvn.errors import UserError
from pvn.fields import Field, check_field, check_seed, choice, whole
from pvn.networks.feature_layer import ACTIVATIONS, NORMS
from pvn.networks.impala import Impala
from pvn.networks.minatar import MinAtar
from pvn.networks.nature import Nature
from pvn.networks.network import Network, Params, as_network
from pvn.plugins import load_plugin, plugin_errors
from pvn.types import ATARI

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "nature": Nature,
    # As Dopamine's DQN begins (Castro et al. 2018).
    "nature_xavier": functools.partial(Nature, kernel_init=nn.initializers.xavier_uniform()),
    "impala": Impala,
    "minatar": MinAtar,
}

ARCHITECTURE: dict[str, Field] = {
    "width": whole(1, 2**16),
    "num_features": whole(1, 2**31 - 1),
    "dtype": choice("float32", "bfloat16"),
    "feature_norm": choice(*NORMS),
    "feature_activation": choice(*ACTIVATIONS),
}
"""What an encoder is made from, besides its name."""

DEFAULT_LAST_LAYER = {"feature_norm": "none", "feature_activation": "relu"}


def check_shape(place: str, shape: Sequence[int]) -> None:
    """Raises `UserError`, with `place` in front, unless `shape` can be (H, W, C)."""
    whole_numbers = all(isinstance(n, int | np.integer) and n > 0 for n in shape)
    if len(shape) != 3 or not whole_numbers:
        raise UserError(f"{place}: {shape}, expected three numbers: height, width, channels")


def make_encoder(
    name: str,
    *,
    width: int,
    num_features: int,
    dtype: str = "float32",
    feature_norm: str = "none",
    feature_activation: str = "relu",
    observation_shape: Sequence[int] = ATARI.shape,
    folder: str | Path = ".",
) -> Network:
    """The encoder called `name`: uint8 [B, H, W, C] to float32 [B, F].

    Args:
      name: `nature`, `nature_xavier`, `impala`, `minatar`, or a user's own encoder,
        `path/to/file.py:Name` or `package.module:Name`. A user's own encoder is a callable with
        the keywords width, num_features and dtype. It returns a Flax module or a Haiku transform,
        which must scale the pixels (docs/extending.md).
      width: multiplies the channels of the convolutions.
      num_features: F.
      dtype: type of the computation, `float32` or `bfloat16`. Parameters are always float32.
      feature_norm, feature_activation: of the last layer (`pvn.networks.feature_layer`). They have
        no effect on a user's own encoder, which has its own last layer.
      observation_shape: (H, W, C).
      folder: the folder that a relative file name starts from.

    Raises:
      UserError: there is no such encoder, an argument is out of range, its code raises, its output
        is not [B, F], a parameter is not float32, or it keeps state besides its parameters.
    """
    given = (width, num_features, dtype, feature_norm, feature_activation)
    for (field, expected), value in zip(ARCHITECTURE.items(), given, strict=True):
        check_field(field, value, expected)
    check_shape("observation_shape", observation_shape)
    factory: Callable[..., Any] = ENCODERS.get(name) or load_plugin(
        "encoder", name, ENCODERS, folder
    )
    if name in ENCODERS:
        factory = functools.partial(
            factory, feature_norm=feature_norm, feature_activation=feature_activation
        )
    observation = jax.ShapeDtypeStruct((2, *observation_shape), jnp.uint8)
    with plugin_errors("encoder", name, folder):
        module = factory(width=width, num_features=num_features, dtype=jnp.dtype(dtype))
        inner = as_network(module, name)
        network = Network(
            inner.init,
            lambda params, observation: inner.apply(params, observation).astype("float32"),
        )
        params = jax.eval_shape(network.init, jax.random.key(0), observation)
        out = jax.eval_shape(network.apply, params, observation)
    if out.shape != (2, num_features):
        raise UserError(
            f"encoder {name}: maps 2 observations to shape {out.shape}, "
            f"expected (2, {num_features}), as num_features says"
        )
    for path, leaf in jax.tree.leaves_with_path(params):
        if leaf.dtype != jnp.float32:
            parameter = jax.tree_util.keystr(path, simple=True, separator=".")
            raise UserError(
                f"encoder {name}: parameter {parameter} is {leaf.dtype}, expected float32 "
                "(dtype is the type of the computation)"
            )
    return network


def init_encoder(
    network: Network, seed: int, observation_shape: Sequence[int] = ATARI.shape
) -> Params:
    """The initial parameters of an encoder of observations of this shape (H, W, C).

    They depend only on the network and the seed.

    Raises:
      UserError: the seed is outside `pvn.fields.SEED`.
    """
    observation = jnp.zeros((1, *observation_shape), jnp.uint8)
    return jax.jit(network.init)(jax.random.key(check_seed(operator.index(seed))), observation)
