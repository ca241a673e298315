"""Responses of one bit a task, for tasks that are sets of states and are known before training.

Whether a state is in a set is all that training asks. So a stored response needs one bit, and not
the 32 of the number that a threshold was compared with: 50 million states and 100 tasks are 0.6 GB.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.indicators.indicator import Indicator, Params

_NUMBERS = 2**24  # that `pack_rows` packs at a time


def response_columns(num_tasks: int, packed: bool) -> tuple[int, np.dtype]:
    """(length, dtype) of the response to a state."""
    return (math.ceil(num_tasks / 8), np.dtype("u1")) if packed else (num_tasks, np.dtype("f4"))


def _packer(indicator: Indicator) -> Callable[[Params, Any], tuple[jax.Array, jax.Array]]:
    """fitted, responses float32 [B, T] -> (their bits uint8 [B, T / 8], whether all raw cumulants
    are 0 or 1). Compiled."""
    raw = indicator.raw_cumulant or indicator.cumulant

    @jax.jit
    def pack(fitted: Params, response: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = raw(fitted, response)
        return jnp.packbits(values > 0, axis=1), jnp.all((values == 0) | (values == 1))

    return pack


def pack_rows(indicator: Indicator, fitted: Params, responses: np.ndarray) -> np.ndarray:
    """The bits uint8 [M, T / 8] of responses float32 [M, T] to a binary indicator.

    Raises:
      UserError: a raw cumulant is neither 0 nor 1.
    """
    pack = _packer(indicator)
    rows = min(4096, max(1, _NUMBERS // indicator.num_tasks))
    parts = [pack(fitted, responses[at : at + rows]) for at in range(0, len(responses), rows)]
    if not all(binary for _, binary in parts):
        raise UserError(
            "config.indicator: is binary, and has cumulants other than 0 and 1, expected "
            "binary=False"
        )
    return np.concatenate([bits for bits, _ in parts])


def packed(indicator: Indicator, fitted: Params) -> Indicator:
    """The same tasks as `indicator`, which is binary, with bits as responses.

    fitted: the result of `fit`. It decides on the bits; `cumulant` only standardises them.
    """
    assert indicator.binary
    standardise = indicator.standardise
    pack = _packer(indicator)

    def response(frozen: Params, observation: jax.Array) -> jax.Array:
        return pack(fitted, indicator.response(frozen, observation))[0]

    def raw_cumulant(_: Params, bits: jax.Array) -> jax.Array:
        return jnp.unpackbits(bits, axis=1, count=indicator.num_tasks).astype(jnp.float32)

    def cumulant(fitted: Params, bits: jax.Array) -> jax.Array:
        values = raw_cumulant(fitted, bits)
        return values if standardise is None else standardise(fitted, values)

    return indicator._replace(
        response=response,
        cumulant=cumulant,
        fit=None,
        raw_cumulant=raw_cumulant,
        standardise=None,
        binary=False,
        packed=True,
    )
