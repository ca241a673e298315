"""Prepared auxiliary tasks: drawn, fitted, and their responses computed where possible."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.sampler import Stream, uniform_indices
from pvn.data.transitions import Transitions
from pvn.errors import UserError
from pvn.indicators.indicator import Indicator, Params
from pvn.indicators.packed import pack_rows, packed
from pvn.indicators.responses import (
    FITTED,
    Cache,
    StoredResponses,
    compute_responses,
    forget_fit,
    keep_arrays,
    load_arrays,
    stored_responses,
)
from pvn.types import Array

RATE_STATES = 8192  # least number of states for activation rates, if there are as many
_FIT_STATES = 65_536  # most states for fitting thresholds with a cache
_FIT_BYTES = 2**30  # most bytes of their responses


def fit_states(num_transitions: int, num_tasks: int) -> int:
    """How many states T tasks are fitted to, with a cache: at most 65,536, and 1 GiB of float32."""
    return min(num_transitions, _FIT_STATES, max(1, _FIT_BYTES // (4 * max(1, num_tasks))))


class Tasks(NamedTuple):
    """T prepared tasks."""

    indicator: Indicator
    frozen: Params  # () if `responses` holds those to all states
    fitted: Params
    responses: Array | None  # [N, ...], in memory or on disk; None: computed in each step
    sample: np.ndarray  # [S, ...], responses for measuring activation rates

    def cumulants(self, responses: np.ndarray) -> np.ndarray:
        """Cumulants float32 [M, T] of responses [M, ...]."""
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


def check_varies(tasks: Tasks) -> None:
    """Raises `UserError` if every task has the same cumulant in all states of the sample, or if a
    cumulant is not finite."""
    cumulants = tasks.activations(tasks.fitted)
    if not np.isfinite(cumulants).all():
        raise UserError("config.indicator: a task has a cumulant that is NaN or infinite")
    if not np.ptp(cumulants, axis=0).any():
        raise UserError(
            f"config.indicator: all {tasks.indicator.num_tasks} tasks are the same in every state; "
            "expected another proportion, or more states"
        )


def tasks_of_dataset(
    indicator: Indicator,
    key: jax.Array,
    transitions: Transitions,
    *,
    seed: int,
    cache: Cache | None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> Tasks:
    """Tasks on the states of a dataset.

    Args:
      indicator: of T tasks.
      key: of the frozen parameters.
      transitions: of the dataset.
      seed: of the draw of the states for fitting thresholds and measuring activation rates.
      cache: open, where the responses to all states are stored, which are computed once. Those of
        binary tasks are stored as bits. None: they are computed in each step.
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
    count = fit_states(len(start), indicator.num_tasks)
    fit_on = np.sort(drawn(count)) if count < len(start) else start
    if indicator.binary:
        indicator, fitted, responses = _packed_tasks(
            indicator, frozen, fitted, transitions, cache, fit_on, on_progress
        )
    else:
        responses = stored_responses(cache, indicator, frozen, transitions, on_progress=on_progress)
        fitted = _fit(indicator, fitted, responses[fit_on])
    sample = responses[fit_on[:: max(1, len(fit_on) // RATE_STATES)]]
    return Tasks(indicator, (), fitted, responses, sample)


def _packed_tasks(
    indicator: Indicator,
    frozen: Params,
    initial: Params,
    transitions: Transitions,
    cache: Cache,
    fit_on: np.ndarray,
    on_progress: Callable[[int], object],
) -> tuple[Indicator, Params, StoredResponses]:
    """Binary tasks fitted to the states at rows `fit_on`: (packed, fitted, the bits of all states).

    initial: fitted parameters of `init`.
    """
    if indicator.loss is not None:
        raise UserError("config.indicator: is binary, and has a loss, expected binary=False")
    fitted, known = load_arrays(cache, FITTED, initial), None
    if fitted is None:
        real = stored_responses(
            cache, indicator, frozen, transitions, index=fit_on, on_progress=on_progress
        )[:]
        fitted = _fit(indicator, initial, real)
        known = fit_on, pack_rows(indicator, fitted, real)
        del real  # it is large
    indicator = packed(indicator, fitted)
    bits = stored_responses(
        cache, indicator, frozen, transitions, known=known, on_progress=on_progress
    )
    keep_arrays(cache, FITTED, fitted)
    forget_fit(cache)
    return indicator, fitted, bits


def _fit(indicator: Indicator, fitted: Params, sample: np.ndarray) -> Params:
    """fitted: of `init`, for a family without `fit`."""
    if indicator.fit is None:
        return fitted
    found = indicator.fit(sample)
    if _shapes(found) != _shapes(fitted):
        raise UserError(
            "config.indicator: `fit` returns other parameters than `init`, expected the same tree "
            "structure and shapes"
        )
    return found


def _shapes(params: Params) -> tuple[Any, list[tuple[int, ...]]]:
    leaves, structure = jax.tree.flatten(params)
    return structure, [np.shape(leaf) for leaf in leaves]
