"""Hash indicators: random sets of states, defined by a universal hash of the raw pixels.

A state is in the set if its hash lies in the lowest share p of the range. Unlike a random network,
a hash ignores how similar two states are: if they differ in one pixel, their memberships are
practically independent.
"""

import math
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.fields import real
from pvn.indicators.indicator import Indicator

HASH_BITS = 24  # float32 holds whole numbers of 24 bits exactly


def multiply_shift(multipliers: jax.Array, offset: jax.Array, observation: jax.Array) -> jax.Array:
    """uint32 [B, T]: ((sum_i a_i x_i + b) mod 2^32) >> 8 over all pixels x_i of an observation.

    Strongly universal for 8-bit values and 24 bits of hash, as 8 + 24 - 1 <= 32 (Dietzfelbinger
    1996; Thorup, "High speed hashing for integers and strings", section 3).

    multipliers: uint32 [H W C, T]. offset: uint32 [T]. observation: uint8 [B, H, W, C].
    """
    # int32 wraps to the same bits as uint32, and its matrix product is faster.
    x = observation.reshape(observation.shape[0], -1).astype(jnp.int32)
    a = jax.lax.bitcast_convert_type(multipliers, jnp.int32)
    sums = jax.lax.bitcast_convert_type(x @ a, jnp.uint32) + offset[None]
    return sums >> np.uint32(32 - HASH_BITS)


class RandomHash(NamedTuple):
    """Settings of hash indicators. Each is independently on with probability p in a given state."""

    proportion: Annotated[float, real(0, 1, closed="()")] = 0.05  # p

    def indicator(self, num_tasks: int) -> Indicator:
        """T hash indicators, of observations uint8 [B, H, W, C]."""

        def init(key: jax.Array, observation: jax.Array) -> tuple[Any, tuple[()]]:
            multipliers_key, offset_key = jax.random.split(key)
            frozen = {
                "multipliers": jax.random.bits(
                    multipliers_key, (math.prod(observation.shape[1:]), num_tasks), jnp.uint32
                ),
                "offset": jax.random.bits(offset_key, (num_tasks,), jnp.uint32),
            }
            return frozen, ()

        def response(frozen: Any, observation: jax.Array) -> jax.Array:
            hashed = multiply_shift(frozen["multipliers"], frozen["offset"], observation)
            return hashed.astype(jnp.float32) * np.float32(2.0**-HASH_BITS)

        def cumulant(_: Any, responses: jax.Array) -> jax.Array:
            return (responses < self.proportion).astype(jnp.float32)

        return Indicator(num_tasks, init, response, cumulant, binary=True)
