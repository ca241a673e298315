"""A network: a pair (init, apply) of pure functions, made with Flax or Haiku."""

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
from flax import linen as nn

from pvn.errors import UserError

Params = Any


class Network(NamedTuple):
    """A pure function of parameters and one input, and a function that draws the parameters."""

    init: Callable[[jax.Array, jax.Array], Params]
    """(key, input [B, ...]) -> parameters, a nested dictionary of arrays."""

    apply: Callable[[Params, jax.Array], jax.Array]
    """(parameters, input [B, ...]) -> output [B, ...]."""


def as_network(module: Any, name: str) -> Network:
    """Makes a `Network` from a Flax module or a Haiku transform.

    Args:
      module: a `flax.linen.Module` or a `haiku.Transformed` with one input.
      name: the encoder's name in error messages.

    Raises:
      UserError: `module` is neither. The returned `init` raises it if the module keeps state
        besides its parameters.
    """
    if isinstance(module, hk.Transformed):
        # Haiku may return its own mapping type. pvn saves and compares plain dictionaries.
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

    def init(key: jax.Array, x: jax.Array) -> Params:
        variables = dict(module.init(key, x))
        params = variables.pop("params", {})
        if variables:
            raise UserError(
                f"encoder {name}: keeps state ({', '.join(variables)}) besides its parameters, "
                "which no part of pvn would update; use a layer without it"
            )
        return params

    def apply(params: Params, x: jax.Array) -> Any:
        return module.apply({"params": params}, x)

    return Network(init, apply)
