"""Indicators that are told which state it is: for exact MDPs, not for images.

Their observation is float32 [B, S], a state as a one-hot row (or a distribution over states, which
gives the expected response). Farebrother et al. 2023, section 3: the successor measure of single
states, and of random sets of them.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pvn.indicators.indicator import Indicator


def state_equality(num_states: int) -> Indicator:
    """T = S tasks: task t is on in state t alone."""
    return Indicator(
        num_states,
        init=lambda key: ((), ()),
        response=lambda frozen, state: state,
        cumulant=lambda fitted, response: response,
    )


def random_sets(*, num_states: int, num_tasks: int, proportion: float) -> Indicator:
    """T sets of which each state is a member independently with probability `proportion`."""

    def init(key: jax.Array) -> tuple[jax.Array, tuple[()]]:
        members = jax.random.bernoulli(key, proportion, (num_states, num_tasks))
        return members.astype(jnp.float32), ()

    def response(frozen: Any, state: jax.Array) -> jax.Array:
        return state @ frozen

    return Indicator(num_tasks, init, response, lambda fitted, response: response)
