"""Prepared auxiliary tasks: drawn, fitted, and their responses computed where possible."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.sampler import Stream, uniform_indices
from pvn.data.transitions import Transitions
from pvn.indicators.indicator import Indicator, Params
from pvn.indicators.responses import StoredResponses, compute_responses
from pvn.types import Array

RATE_STATES = 8192  # least number of states for activation rates, if there are as many
FIT_STATES = 65_536  # most states for fitting thresholds with a cache


class Tasks(NamedTuple):
    """T prepared tasks."""

    indicator: Indicator
    frozen: Params  # () if `responses` holds those to all states
    fitted: Params
    responses: Array | None  # float32 [N, T], in memory or on disk; None: computed in each step
    sample: np.ndarray  # float32 [S, T], responses for measuring activation rates

    def cumulants(self, responses: np.ndarray) -> np.ndarray:
        """Cumulants float32 [M, T] of responses float32 [M, T]."""
        return np.asarray(jax.jit(self.indicator.cumulant)(self.fitted, responses))

    def activations(self, fitted: Params) -> np.ndarray:
        """float32 [S, T]: the cumulants of the sample before they are standardised.

        fitted: parameters that a run has learned meanwhile.
        """
        raw = self.indicator.raw_cumulant or self.indicator.cumulant
        return np.asarray(jax.jit(raw)(fitted, self.sample))


def tasks_of_states(indicator: Indicator, key: jax.Array, observation: Any) -> Tasks:
    """Tasks on S states. observation: [S, ...], one for each state."""
    states = jnp.asarray(observation)
    frozen, fitted = indicator.init(key, states[:1])
    responses = np.asarray(indicator.response(frozen, states))
    return Tasks(indicator, (), _fit(indicator, fitted, responses), responses, responses)


def tasks_of_dataset(
    indicator: Indicator,
    key: jax.Array,
    transitions: Transitions,
    *,
    seed: int,
    cache: Callable[..., StoredResponses] | None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> Tasks:
    """Tasks on the states of a dataset.

    Args:
      indicator: of T tasks.
      key: of the frozen parameters.
      transitions: of the dataset.
      seed: of the draw of the states for fitting thresholds and measuring activation rates.
      cache: `stored_responses` with the folder, the key and the share of this process, to compute
        the responses to all states once; None: they are computed in each step.
      on_progress: called with the number of states just done.

    Raises:
      UserError: the cache cannot be read or written; the message names it.
    """
    example = jnp.zeros((1, *transitions.observation.shape), jnp.uint8)
    frozen, fitted = indicator.init(key, example)
    start = transitions.start

    def drawn(count: int) -> np.ndarray:
        return start[uniform_indices(seed, Stream.SAMPLE, count, len(start))]

    if cache is None:
        sample = compute_responses(indicator, frozen, transitions, drawn(RATE_STATES), on_progress)
        # Fit on one half and measure the rates on the other.
        fitted = _fit(indicator, fitted, sample[::2])
        return Tasks(indicator, frozen, fitted, None, sample[1::2])
    responses = cache(indicator, frozen, transitions, on_progress=on_progress)
    fit_on = np.sort(drawn(FIT_STATES)) if len(start) > FIT_STATES else start
    sample = responses[fit_on]
    fitted = _fit(indicator, fitted, sample)
    some = sample[:: max(1, len(fit_on) // RATE_STATES)].copy()
    return Tasks(indicator, (), fitted, responses, some)


def _fit(indicator: Indicator, fitted: Params, sample: np.ndarray) -> Params:
    return fitted if indicator.fit is None else indicator.fit(sample)
