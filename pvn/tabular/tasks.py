"""The auxiliary tasks of a small MDP: of its states, or of pictures of them as on Atari."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.indicators.indicator import Indicator, Params
from pvn.indicators.registry import make_indicator
from pvn.indicators.state_sets import random_sets, state_equality


class Tasks(NamedTuple):
    """T indicators and their responses to the S states."""

    indicator: Indicator
    fitted: Params
    response: np.ndarray  # float32 [S, T]
    cumulant: np.ndarray  # float64 [S, T]


def make_tasks(
    name: str,
    num_tasks: int,
    states: np.ndarray,
    images: Callable[[], np.ndarray],
    *,
    proportion: float,
    tasks_per_network: int,
    seed: int,
    draw: int = 0,
) -> Tasks:
    """Tasks of a family.

    Args:
      name: state_equality, random_sets, or one of `INDICATORS`.
      num_tasks: T.
      states: float32 [S, S], one-hot rows.
      images: draws the states, uint8 [S, 84, 84, 4].
      proportion: share of the states in a random set, or quantile of a random network's outputs.
      tasks_per_network: outputs of a random network.
      seed, draw: other numbers give other tasks.

    Raises:
      UserError: not as many tasks as states of state_equality; what the family refuses.
    """
    observation = states
    if name == "state_equality":
        if num_tasks != len(states):
            raise UserError(
                f"config.num_tasks: {num_tasks}, expected 0 or {len(states)}: state_equality has "
                "a task for each state"
            )
        indicator = state_equality()
    elif name == "random_sets":
        indicator = random_sets(num_states=len(states), num_tasks=num_tasks, proportion=proportion)
    else:
        observation = images()
        indicator = make_indicator(
            name,
            num_tasks=num_tasks,
            proportion=proportion,
            threshold_from="dataset",
            tasks_per_network=tasks_per_network,
            final_relu=False,
        )
    frozen, fitted = indicator.init(jax.random.fold_in(jax.random.key(seed), 1 + draw))
    response = np.asarray(indicator.response(frozen, jnp.asarray(observation)))
    if indicator.fit is not None:
        fitted = indicator.fit(response)
    cumulant = np.asarray(indicator.cumulant(fitted, jnp.asarray(response)), np.float64)
    return Tasks(indicator, fitted, response, cumulant)
