"""Thresholds that turn a real response into an indicator that is on for a proportion p of states.

The indicator is on where u = response + bias > 0. The bias is minus the (1 - p) quantile of the
response, read off the dataset (exact, at once) or found by quantile regression (the published
way, Farebrother et al. 2023, appendix).
"""

import jax
import jax.numpy as jnp
import numpy as np


def indicator(bias: jax.Array, response: jax.Array) -> jax.Array:
    """float32 [B, T]: 1 where response [B, T] + bias [T] is above 0, else 0."""
    return (response + bias[None] > 0).astype(jnp.float32)


def quantile_loss(bias: jax.Array, response: jax.Array, proportion: float) -> jax.Array:
    """Mean over [B, T] of u ((1 - p) - 1[u < 0]), u = response + bias.

    Its derivative by the bias is (1 - p) - P(u < 0), so it rests where P(u > 0) = p. That of a
    task whose response does not vary rests nowhere: its bias hovers around the response.
    """
    u = response + bias[None]
    return jnp.mean(u * ((1 - proportion) - (u < 0)))


def empirical_bias(responses: np.ndarray, proportion: float) -> np.ndarray:
    """float32 [T]: biases under which the indicators are on for p of the M states given.

    responses: float32 [M, T]. Where equal responses make p unattainable, the nearest rate that
    is attainable is taken. The threshold lies midway between the neighbouring responses.
    """
    count = len(responses)
    wanted = round(proportion * count)
    biases = np.empty(responses.shape[1], np.float32)
    for task, column in enumerate(np.sort(responses.T.astype(np.float32), axis=1)):
        edge = column[count - wanted] if wanted else np.float32(np.inf)
        first, last = np.searchsorted(column, edge, "left"), np.searchsorted(column, edge, "right")
        # On from `first` (all that equal the edge) or only from `last` (all that exceed it).
        on_from = first if abs(count - first - wanted) <= abs(count - last - wanted) else last
        below = column[on_from - 1] if on_from > 0 else column[0] - 1
        above = column[on_from] if on_from < count else column[-1] + 1
        middle = np.float32(below + (above - below) / 2)
        # Between adjacent floats there is no middle; `below` itself is not above the threshold.
        biases[task] = -(middle if middle < above else below)
    return biases
