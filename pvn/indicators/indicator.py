"""What an auxiliary task family is: a few pure functions, in the manner of optax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Params = Any


class Indicator(NamedTuple):
    """T auxiliary tasks, each a cumulant that is a function of the state.

    `frozen` parameters are a function of the key and never change, so the response to a state may
    be computed once for a whole dataset. `fitted` ones (thresholds, say) are set by `fit` before
    training or, where there is a `loss`, learned by descending it.
    """

    num_tasks: int
    """T."""

    init: Callable[[jax.Array], tuple[Params, Params]]
    """key -> (frozen, fitted)."""

    response: Callable[[Params, jax.Array], jax.Array]
    """frozen, uint8 [B, 84, 84, 4] -> float32 [B, T]."""

    cumulant: Callable[[Params, jax.Array], jax.Array]
    """fitted, response [B, T] -> float32 [B, T]."""

    fit: Callable[[np.ndarray], Params] | None = None
    """responses float32 [M, T] to states of the dataset -> fitted."""

    loss: Callable[[Params, jax.Array], jax.Array] | None = None
    """fitted, response [B, T] -> scalar whose minimum over `fitted` is sought."""
