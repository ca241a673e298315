"""One face for every network: an (init, apply) pair of pure functions, be it Flax or Haiku."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from flax import linen as nn

from pvn.errors import UserError
from pvn.networks.impala import Impala
from pvn.networks.nature import Nature
from pvn.plugins import load_plugin

Params = Any

OBSERVATION_SHAPE = (84, 84, 4)

ENCODERS: dict[str, Callable[..., nn.Module]] = {"nature": Nature, "impala": Impala}


class Network(NamedTuple):
    """A pure function with parameters, and how to draw them."""

    init: Callable[..., Params]  # (key, *inputs) -> params
    apply: Callable[..., jax.Array]  # (params, *inputs) -> outputs


def as_network(module: Any, name: str) -> Network:
    """A Flax module, or a Haiku transform, as a `Network`.

    Raises:
      UserError: `module` is neither; or (when `init` runs) it has state besides parameters.
    """
    if isinstance(module, hk.Transformed):
        # Haiku gives parameters of its own mapping type; plain dicts travel and save.
        transformed: Any = hk.without_apply_rng(module)
        return Network(
            lambda *inputs: jax.tree.map(lambda x: x, dict(transformed.init(*inputs))),
            transformed.apply,
        )
    if not isinstance(module, nn.Module):
        raise UserError(
            f"encoder {name}: gave a {type(module).__name__}, expected a flax.linen Module or a "
            "haiku.Transformed"
        )

    def init(*inputs: Any) -> Params:
        variables = dict(module.init(*inputs))
        params = variables.pop("params", {})
        if variables:
            raise UserError(
                f"encoder {name}: keeps state ({', '.join(variables)}) besides its parameters, "
                "which no part of pvn would update; use a layer without it"
            )
        return params

    def apply(params: Params, *inputs: Any) -> Any:
        return module.apply({"params": params}, *inputs)

    return Network(init, apply)


def make_encoder(
    name: str,
    *,
    width: int,
    num_features: int,
    dtype: str = "float32",
    folder: str | Path = ".",
) -> Network:
    """The encoder called `name`: uint8 [B, 84, 84, 4] to float32 [B, F].

    Args:
      name: `nature`, `impala`, or a person's own as `path/to/file.py:Name` or
        `package.module:Name`: a callable that takes the keywords width, num_features and dtype
        and returns a Flax module or a Haiku transform that scales the pixels itself.
      width: multiplies the channels of the convolutions.
      num_features: F.
      dtype: of the computation, `float32` or `bfloat16`; parameters are float32 either way.
      folder: what a relative file name is relative to.

    Raises:
      UserError: no such encoder, or its output is not [B, F].
    """
    factory = ENCODERS.get(name) or load_plugin("encoder", name, ENCODERS, folder)
    module = factory(width=width, num_features=num_features, dtype=jnp.dtype(dtype))
    inner = as_network(module, name)
    network = Network(
        inner.init, lambda params, observation: inner.apply(params, observation).astype("float32")
    )
    observation = jax.ShapeDtypeStruct((2, *OBSERVATION_SHAPE), jnp.uint8)
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    out = jax.eval_shape(network.apply, params, observation)
    if out.shape != (2, num_features):
        raise UserError(
            f"encoder {name}: maps 2 observations to shape {out.shape}, "
            f"expected (2, {num_features}), as num_features says"
        )
    return network


def init_encoder(network: Network, seed: int) -> Params:
    """Parameters of an encoder, a pure function of the seed."""
    observation = jnp.zeros((1, *OBSERVATION_SHAPE), jnp.uint8)
    return jax.jit(network.init)(jax.random.key(seed), observation)
