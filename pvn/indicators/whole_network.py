"""Frozen random convolutions that compute in whole numbers, as Haiku functions of a key.

They are the convolutions of the Nature network; for small observations, such as MinAtar's, there is
one convolution of 3x3.

An indicator compares a response with a threshold, so a difference in the last bit of the response
can change it. Therefore the networks compute in whole numbers, small enough for float32 to hold
every sum exactly. Then the order of summation does not matter: a response is the same in a batch of
any size and on any device. Weights are rounded; activations (10 bits) are rounded down. The
correlation with the same network in real numbers is above 0.997 on frames of seven games.
"""

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from pvn.types import SMALL_SIDE

_LARGE = ((32, 8, 4, 128, 9), (64, 4, 2, 32, 8), (64, 3, 1, 28, 8))
"""(channels, kernel, stride, largest weight, right shift), chosen so that no sum exceeds 2^24."""
_SMALL = ((16, 3, 1, 512, 1),)
"""The same for observations below `SMALL_SIDE` pixels, of zeros and ones."""
_MAX_ACTIVATION = 1023  # of a hidden layer; the input has pixels up to 255


def whole_weights(most: int) -> hk.initializers.Initializer:
    """Rounded normal weights, truncated at two standard deviations, which are `most`."""
    normal = hk.initializers.TruncatedNormal(most / 2)
    return lambda shape, dtype: jnp.round(normal(shape, jnp.float32)).astype(dtype)


def _layers(observation_shape: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The convolutions for observations [H, W, C]."""
    return _SMALL if min(observation_shape[:2]) < SMALL_SIDE else _LARGE


def num_convolutions(observation_shape: Sequence[int]) -> int:
    """How many convolutions there are for observations [H, W, C]."""
    return len(_layers(observation_shape))


def convolutions(observation: jax.Array, *, activate_last: bool, number: int = 0) -> jax.Array:
    """float32 [B, h, w, c] of whole numbers, of uint8 [B, H, W, C]. Call it in a Haiku transform.

    activate_last: whether the last convolution is rectified and scaled down, as the others are. If
    not, its sums are returned; they are at most 2^24.
    number: of the convolutions, at most `num_convolutions`; 0: all of them.
    """
    x = observation.astype(jnp.float32)
    layers = _layers(observation.shape[1:])[: number or None]
    for count, (channels, size, stride, most, bits) in enumerate(layers, 1):
        layer = hk.Conv2D(channels, size, stride, with_bias=False, w_init=whole_weights(most))
        # With + 0.5, `floor` tolerates the rounding errors of fast convolution algorithms.
        whole = layer(x, precision=jax.lax.Precision.HIGHEST) + 0.5
        if count == len(layers) and not activate_last:
            return jnp.floor(whole)
        x = jnp.clip(jnp.floor(whole * 2.0**-bits), 0, _MAX_ACTIVATION)
    return x
