"""The interface of auxiliary tasks: a few pure functions, in the style of optax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = Any


class Indicator(NamedTuple):
    """T auxiliary tasks. The cumulant of each is a function of the state.

    The `frozen` parameters are a function of the key and never change. So the response to a state
    can be computed once for a whole dataset. The `fitted` parameters (for example thresholds) are
    set by `fit` before training. If there is a `loss`, training minimises it over them.
    """

    num_tasks: int
    """T."""

    init: Callable[[jax.Array, jax.Array], tuple[Params, Params]]
    """key, uint8 [1, H, W, C] -> (frozen, fitted). Only the shape of the observation counts."""

    response: Callable[[Params, jax.Array], jax.Array]
    """frozen, uint8 [B, H, W, C] -> float32 [B, T]."""

    cumulant: Callable[[Params, jax.Array], jax.Array]
    """fitted, response [B, T] -> float32 [B, T]."""

    fit: Callable[[np.ndarray], Params] | None = None
    """responses to M states of the dataset, float32 [M, T] -> fitted, with the tree structure and
    the shapes of those of `init`. None: `init` gives them."""

    loss: Callable[[Params, jax.Array], jax.Array] | None = None
    """fitted, response [B, T] -> scalar, a mean over the batch (each device has a part of it),
    minimised over `fitted`. None: they stay as they are."""

    raw_cumulant: Callable[[Params, jax.Array], jax.Array] | None = None
    """fitted, response [B, T] -> [B, T], before standardisation. None: the same as `cumulant`."""

    standardise: Callable[[Params, jax.Array], jax.Array] | None = None
    """fitted, raw cumulants [B, T] -> cumulants [B, T]. None: they are the same."""

    binary: bool = False
    """Whether raw cumulants are 0 or 1, and known before training: there is no `loss`."""

    packed: bool = False
    """Whether a response is not float32 [B, T] but the bits of T raw cumulants, uint8 [B, T / 8]
    rounded up (`pvn.indicators.packed`)."""

    stack: int = 1
    """Least number of frames that an observation must stack."""

    candidates: "Candidates | None" = None
    """What these are chosen from (`pvn.indicators.controllable`); None: they are as drawn."""


class Candidates(NamedTuple):
    """C tasks, of which T are chosen before training."""

    tasks: Indicator
    """All C."""

    keep: Callable[[np.ndarray], Indicator]
    """int32 [T], their numbers -> the indicator of these."""


NO_TASKS = Indicator(
    0,
    init=lambda key, observation: ((), ()),
    response=lambda frozen, observation: jnp.zeros((len(observation), 0)),
    cumulant=lambda fitted, response: response,
)
"""For an objective without tasks."""


def shapes_of(indicator: Indicator, example: jax.Array, own: bool) -> tuple[Params, Params]:
    """The frozen and fitted parameters with shapes and dtypes as leaves.

    Args:
      indicator: of the tasks.
      example: an observation, uint8 [1, H, W, C].
      own: whether the family is a user's own. It is run, because it may draw with NumPy, which
        cannot be traced; and so are its responses and cumulants, to find errors early.

    Raises:
      UserError: the tasks cannot be drawn for such observations, or a user's own family fails.
    """
    if not own:
        return jax.eval_shape(indicator.init, jax.random.key(0), example)

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)  # keys stay jax's
        return jax.ShapeDtypeStruct(array.shape, array.dtype)

    frozen, fitted = indicator.init(jax.random.key(0), example)
    indicator.cumulant(fitted, indicator.response(frozen, example))
    return jax.tree.map(shape, (frozen, fitted))
