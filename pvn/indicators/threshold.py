"""Thresholds: they turn a real response into an indicator that is on for a share p of the states.

The indicator is on where u = response + bias > 0. The bias is minus the (1 - p) quantile of the
response. It is computed exactly from responses to the dataset, or learned by quantile regression
(Farebrother et al. 2023, appendix).
"""

from collections.abc import Iterator

import chex
import jax
import jax.numpy as jnp
import numpy as np


def indicator(bias: jax.Array, response: jax.Array) -> jax.Array:
    """float32 [B, T]: 1 where response [B, T] + bias [T] is above 0, else 0."""
    chex.assert_rank([bias, response], [1, 2])
    return (response + bias[None] > 0).astype(jnp.float32)


def quantile_loss(bias: jax.Array, response: jax.Array, proportion: float) -> jax.Array:
    """Scalar: mean over B and T of u ((1 - p) - 1[u < 0]), where u = response + bias.

    The derivative of one task's mean with respect to its bias is (1 - p) - P(u < 0). It is 0 where
    P(u > 0) = p. For a task whose response does not vary it is never 0, and the bias oscillates
    around minus the response.

    bias: float32 [T]. response: float32 [B, T]. proportion: p.
    """
    chex.assert_rank([bias, response], [1, 2])
    chex.assert_equal_shape_suffix([bias, response], 1)
    u = response + bias[None]
    return jnp.mean(u * ((1 - proportion) - (u < 0)))


def empirical_bias(responses: np.ndarray, proportion: float) -> np.ndarray:
    """float32 [T]: biases with which the indicators are on for a share p of M states.

    If equal responses make p impossible, the rate is the nearest possible one. The threshold lies
    in the middle between two neighbouring responses.

    responses: float32 [M, T]. proportion: p.
    """
    chex.assert_rank(responses, 2)
    count, inf = len(responses), np.float32(np.inf)
    wanted = round(proportion * count)
    biases = np.empty(responses.shape[1], np.float32)
    for task, column in enumerate(_sorted_columns(responses)):
        edge = column[count - wanted] if wanted else inf
        first, last = np.searchsorted(column, edge, "left"), np.searchsorted(column, edge, "right")
        # `first`: on for responses that equal or exceed the edge. `last`: only for those above it.
        on_from = first if abs(count - first - wanted) <= abs(count - last - wanted) else last
        # From 2^24 on, 1 less or more is the same float.
        lowest = min(column[0] - 1, np.nextafter(column[0], -inf))
        highest = max(column[-1] + 1, np.nextafter(column[-1], inf))
        below = column[on_from - 1] if on_from > 0 else lowest
        above = column[on_from] if on_from < count else highest
        middle = np.float32(below + (above - below) / 2)
        # Adjacent floats have no middle; with `below` as threshold, `below` is off and `above` on.
        biases[task] = -(middle if middle < above else below)
    return biases


def _sorted_columns(responses: np.ndarray) -> Iterator[np.ndarray]:
    """The columns of float [M, T], float32 and sorted. A few at a time: a copy of all is large."""
    for at in range(0, responses.shape[1], 64):
        yield from np.sort(responses[:, at : at + 64].T.astype(np.float32), axis=1)
