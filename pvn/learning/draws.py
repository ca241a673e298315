"""The draws of `pvn.data.sampler.uniform_indices`, computed on a device: the same numbers.

NumPy draws them from Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3") by Lemire's method (2019, "Fast random integer generation in an interval"). JAX has no 64-bit
integers by default, so a 64-bit word is two of 32 bits here.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MOST_ITEMS = 2**30  # above it, too many draws would have to be rejected

_ROUNDS = 10
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


class _Word(NamedTuple):
    """A 64-bit word."""

    high: jax.Array  # uint32
    low: jax.Array  # uint32

    def __xor__(self, other: "_Word") -> "_Word":
        return _Word(self.high ^ other.high, self.low ^ other.low)


def _word(value: int) -> _Word:
    return _Word(jnp.uint32(value >> 32), jnp.uint32(value & 0xFFFFFFFF))


def _add(a: _Word, b: _Word) -> _Word:
    low = a.low + b.low
    return _Word(a.high + b.high + (low < a.low), low)


def _product(a: jax.Array, b: jax.Array) -> _Word:
    """The product of two uint32."""
    a0, a1, b0, b1 = a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16
    middle = (a0 * b0 >> 16) + (a0 * b1 & 0xFFFF) + (a1 * b0 & 0xFFFF)
    high = a1 * b1 + (a0 * b1 >> 16) + (a1 * b0 >> 16) + (middle >> 16)
    return _Word(high, a * b)


def _long_product(a: _Word, b: _Word) -> tuple[_Word, _Word]:
    """The high and the low word of a product."""
    lowest, highest = _product(a.low, b.low), _product(a.high, b.high)
    zero = jnp.uint32(0)
    middle = _Word(zero, lowest.high)
    carry = zero
    for part in (_product(a.low, b.high), _product(a.high, b.low)):
        middle = _add(middle, part)
        carry += (middle.high < part.high) | ((middle.high == part.high) & (middle.low < part.low))
    high = _add(highest, _Word(carry, middle.high))
    return high, _Word(middle.low, lowest.low)


def _philox(seed: jax.Array, step: jax.Array, num_blocks: int) -> jax.Array:
    """The first draws of `pvn.data.sampler.generator(seed, step)`: uint32 [8 num_blocks]."""
    zeros = jnp.zeros(num_blocks, jnp.uint32)
    zero = _Word(zeros, zeros)
    # NumPy counts before it draws, so the first block has the number 1.
    block = _Word(zeros, jnp.arange(1, num_blocks + 1, dtype=jnp.uint32))
    counter = (block, zero, zero, _Word(zeros, zeros + step.astype(jnp.uint32)))

    def one_round(_: int, state: Any) -> Any:
        counter, key0, key1 = state
        high0, low0 = _long_product(counter[0], _word(_MULTIPLIERS[0]))
        high1, low1 = _long_product(counter[2], _word(_MULTIPLIERS[1]))
        counter = (high1 ^ counter[1] ^ key0, low1, high0 ^ counter[3] ^ key1, low0)
        return counter, _add(key0, _word(_KEY_STEPS[0])), _add(key1, _word(_KEY_STEPS[1]))

    # Without a loop XLA would compute the first rounds many times over on a CPU.
    keys = _Word(seed[0], seed[1]), _word(0)
    counter, _, _ = jax.lax.fori_loop(0, _ROUNDS, one_round, (counter, *keys))
    halves = [half for word in counter for half in (word.low, word.high)]
    return jnp.stack(halves, axis=1).ravel()


def split_seed(seed: int) -> np.ndarray:
    """A seed below 2**64 as `uniform_indices` here takes it: uint32 [2], the high half first."""
    return np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)


def uniform_indices(seed: jax.Array, step: jax.Array, batch_size: int, num_items: int) -> jax.Array:
    """The global batch of a step, int32 [B]: the numbers of `sampler.uniform_indices`.

    Args:
      seed: of `split_seed`.
      step: int32, from 0.
      batch_size: B.
      num_items: number of transitions, at most `MOST_ITEMS`.
    """
    assert 0 < num_items <= MOST_ITEMS
    # A draw u gives u * num_items >> 32, and is rejected if the low half of the product is below
    # 2^32 mod num_items: at most a fifth of the draws. B of 2 B + 64 are accepted but for a
    # chance below 1e-20.
    draws = _philox(seed, step, -(-(2 * batch_size + 64) // 8))
    index, rest = _product(draws, jnp.uint32(num_items))
    rejected = rest < np.uint32(2**32 % num_items)
    first = jnp.argsort(rejected, stable=True)[:batch_size]
    return index[first].astype(jnp.int32)
