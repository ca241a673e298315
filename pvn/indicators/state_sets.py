"""Indicators of numbered states, for exact MDPs and not for images.

Their observation is float32 [B, S]: each row is the one-hot vector of a state. A row may also be a
distribution over states; the response is then the expected response. Farebrother et al. 2023,
section 3: the successor measure of single states and of random sets of states.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pvn.indicators.indicator import Indicator


def state_equality(num_states: int) -> Indicator:
    """T = S tasks: task t is on only in state t."""
    return Indicator(
        num_states,
        init=lambda key, observation: ((), ()),
        response=lambda frozen, state: state,
        cumulant=lambda fitted, response: response,
    )


def random_sets(*, num_states: int, num_tasks: int, proportion: float) -> Indicator:
    """T random sets of states. A state is independently in each with probability `proportion`."""

    def init(key: jax.Array, observation: jax.Array) -> tuple[jax.Array, tuple[()]]:
        members = jax.random.bernoulli(key, proportion, (num_states, num_tasks))
        return members.astype(jnp.float32), ()

    def response(frozen: Any, state: jax.Array) -> jax.Array:
        return state @ frozen

    return Indicator(num_tasks, init, response, lambda fitted, response: response)
