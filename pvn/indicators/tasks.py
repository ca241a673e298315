"""Auxiliary tasks that are ready to be trained on: drawn, fitted, their responses at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.sampler import Stream, uniform_indices
from pvn.data.transitions import Transitions
from pvn.indicators.indicator import Indicator, Params
from pvn.indicators.responses import cached_responses, compute_responses

RATE_STATES = 8192  # states on which activation rates are measured; in the step, half of them
FIT_STATES = 65_536  # states on which thresholds are fitted, where there are more


class Tasks(NamedTuple):
    """T prepared tasks."""

    indicator: Indicator
    frozen: Params  # () where all responses are at hand
    fitted: Params
    responses: np.ndarray | None  # float32 [N, T] to every state; None: computed in the step
    sample: np.ndarray  # float32 [S, T], responses on which activation rates are measured

    def cumulants(self, responses: np.ndarray, fitted: Params | None = None) -> np.ndarray:
        """float32 [M, T] of responses [M, T]; `fitted` is what a run has learned since."""
        fitted = self.fitted if fitted is None else fitted
        return np.asarray(jax.jit(self.indicator.cumulant)(fitted, responses))


def tasks_of_states(indicator: Indicator, key: jax.Array, observation: Any) -> Tasks:
    """Tasks on S states that are all at hand, [S, ...]."""
    frozen, fitted = indicator.init(key)
    responses = np.asarray(indicator.response(frozen, jnp.asarray(observation)))
    return Tasks(indicator, (), _fit(indicator, fitted, responses), responses, responses)


def tasks_of_dataset(
    indicator: Indicator,
    key: jax.Array,
    transitions: Transitions,
    *,
    seed: int,
    cache: tuple[Path, dict[str, Any]] | None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> Tasks:
    """Tasks on the states of a dataset.

    Args:
      indicator: of T tasks.
      key: of the frozen parameters.
      transitions: of the dataset.
      seed: of the draw of the states on which thresholds are fitted.
      cache: (folder, all that responses depend on), to compute the responses to all states once;
        None: they are computed in the step.
      on_progress: called with the number of states each time more responses are there.
    """
    frozen, fitted = indicator.init(key)
    start = transitions.start

    def drawn(count: int) -> np.ndarray:
        return start[uniform_indices(seed, Stream.SAMPLE, count, len(start))]

    if cache is None:
        sample = compute_responses(indicator, frozen, transitions, drawn(RATE_STATES), on_progress)
        # Rates are measured on other states than the thresholds were fitted on.
        fitted = _fit(indicator, fitted, sample[::2])
        return Tasks(indicator, frozen, fitted, None, sample[1::2])
    responses = cached_responses(*cache, indicator, frozen, transitions, on_progress)
    fit_on = np.sort(drawn(FIT_STATES)) if len(start) > FIT_STATES else start
    sample = responses[fit_on]
    fitted = _fit(indicator, fitted, sample)
    some = sample[:: max(1, len(fit_on) // RATE_STATES)].copy()
    return Tasks(indicator, (), fitted, responses, some)


def _fit(indicator: Indicator, fitted: Params, sample: np.ndarray) -> Params:
    return fitted if indicator.fit is None else indicator.fit(sample)
