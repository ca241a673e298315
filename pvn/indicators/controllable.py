"""Chooses tasks that the agent controls among many random ones.

Most random tasks are about what moves by itself, and their values say nothing about what to do. So
more tasks are drawn than wanted, and those are kept whose next cumulant the action says most about.
The controllability of a task is the share of the uncertainty about its next cumulant C' that the
action A takes away where its present one C is known, over the transitions of the dataset:

    I(A; C' | C) / H(C' | C)

It is 1 where the action decides. Where actions change nothing it is 0, and its estimate 0 in the
mean, if the actions are random; a policy that reacts to what is about to happen raises it. It looks
one step ahead: what a player moves at once counts, what that moves later does not. "Contingency
awareness" (Bellemare, Veness and Bowling 2012, "Investigating contingency awareness using Atari
2600 games") means the same, and learns which part of the screen it is.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.sampler import Stream, generator
from pvn.data.transitions import Transitions
from pvn.errors import UserError
from pvn.indicators.indicator import Candidates, Indicator, Params
from pvn.indicators.packed import pack_rows
from pvn.indicators.responses import compute_responses

MOST_CANDIDATES = 131_072
_MOST_TRANSITIONS = 32_768
_MOST_BYTES = 2**30  # of the responses of all candidates
_LEAST_ENTROPY = 0.01  # nats a step; a cumulant that changes once in 700 steps


class Choice(NamedTuple):
    """Which T of C candidates are kept."""

    kept: np.ndarray  # int32 [T], ascending
    controllability: np.ndarray  # float64 [C], of all candidates

    def __str__(self) -> str:
        of_kept = self.controllability[self.kept]
        return (
            f"{len(self.kept):,} of {len(self.controllability):,} candidates, of controllability "
            f"{of_kept.min():.1%} to {of_kept.max():.1%}; "
            f"the median of all is {np.median(self.controllability):.1%}"
        )


def controllability(counts: np.ndarray) -> np.ndarray:
    """float64 [T], at most 1: I(A; C' | C) / H(C' | C) of each task, less what chance adds to I.

    Chance adds about (a - 1) / 2M to the estimate from M transitions for each C after which both C'
    occur; a is the number of actions that were taken there. An entropy below 0.01 nats counts as
    0.01, or tasks that hardly ever change would win by chance.

    counts: int [T, A, 2, 2], the number of transitions with action A, C and C'.
    """
    number = counts.sum(axis=(1, 2, 3))
    pairs = counts.sum(axis=1)  # C, C'
    acted = counts.sum(axis=3)  # A, C
    information = _n_log_n(counts) + _n_log_n(acted.sum(axis=1)) - _n_log_n(acted) - _n_log_n(pairs)
    entropy = _n_log_n(pairs.sum(axis=2)) - _n_log_n(pairs)
    freedom = ((acted > 0).sum(axis=1) - 1) * (pairs > 0).all(axis=2)
    information = information - freedom.sum(axis=1) / 2
    return information / np.maximum(entropy, _LEAST_ENTROPY * np.maximum(number, 1))


def _n_log_n(counts: np.ndarray) -> np.ndarray:
    """float64 [T]: the sum of n log n over all axes but the first, where 0 log 0 is 0."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    return np.sum(flat * np.log(np.maximum(flat, 1)), axis=1)


def count_changes(before: np.ndarray, after: np.ndarray, action: np.ndarray) -> np.ndarray:
    """int64 [T, A, 2, 2]: in how many transitions each task went from C to C' with action A.

    before, after: bool [M, T], the cumulants. action: int [M], from 0.
    """
    counts = np.zeros((before.shape[1], int(action.max(initial=0)) + 1, 2, 2), np.int64)
    for taken in np.unique(action):
        was, is_now = before[action == taken], after[action == taken]
        both, first, second = (x.sum(axis=0) for x in (was & is_now, was, is_now))
        counts[:, taken, 1, 1] = both
        counts[:, taken, 1, 0] = first - both
        counts[:, taken, 0, 1] = second - both
        counts[:, taken, 0, 0] = len(was) - first - second + both
    return counts


def among(candidates: Indicator, tasks: Indicator, kept: np.ndarray | None = None) -> Indicator:
    """T of C candidates as an indicator.

    Args:
      candidates: C tasks of a family, binary. What is fitted to one must not depend on its number.
      tasks: T tasks of the same family; their `fit` and cumulants are used, not their responses.
      kept: int32 [T], which candidates; None: the first ones, until `keep` is called.

    Raises:
      UserError: the returned `init` raises it for a family that has fitted parameters, but no
        `fit`: they would be those of other tasks.
    """
    which = np.arange(tasks.num_tasks) if kept is None else kept

    def init(key: jax.Array, observation: jax.Array) -> tuple[Params, Params]:
        frozen, _ = candidates.init(key, observation)
        _, fitted = tasks.init(key, observation)
        if tasks.fit is None and jax.tree.leaves(fitted):
            raise UserError(
                "config.candidates_per_task: above 1, expected 1 for an indicator with fitted "
                "parameters and no function `fit`"
            )
        return {"candidates": frozen, "kept": jnp.asarray(which, jnp.int32)}, fitted

    def response(frozen: Params, observation: jax.Array) -> jax.Array:
        return candidates.response(frozen["candidates"], observation)[:, frozen["kept"]]

    def keep(kept: np.ndarray) -> Indicator:
        return among(candidates, tasks, kept)

    return tasks._replace(init=init, response=response, candidates=Candidates(candidates, keep))


def num_transitions(available: int, num_candidates: int) -> int:
    """How many transitions C candidates are compared on: 32,768, or fewer if they are many."""
    return min(available, _MOST_TRANSITIONS, _MOST_BYTES // (8 * num_candidates))


def most_controllable(
    indicator: Indicator,
    key: jax.Array,
    transitions: Transitions,
    *,
    seed: int,
    on_progress: Callable[[int], object] = lambda count: None,
) -> Choice:
    """The most controllable candidates, on transitions drawn from a dataset.

    Args:
      indicator: of `among`.
      key: of the frozen parameters.
      transitions: of the dataset.
      seed: of the draw of the transitions.
      on_progress: called with the number of states just done.

    Raises:
      UserError: no transition has a next state, or a cumulant is neither 0 nor 1.
    """
    assert indicator.candidates is not None
    candidates = indicator.candidates.tasks
    start = transitions.start[~transitions.rows.terminal[transitions.start]]
    if not len(start):
        raise UserError(
            "config.candidates_per_task: above 1, expected 1 for data without next states"
        )
    count = num_transitions(len(start), candidates.num_tasks)
    # Without replacement: what is subtracted for chance is for independent transitions.
    start = np.sort(generator(seed, Stream.CHOICE).choice(start, count, replace=False))
    frozen, fitted = candidates.init(key, jnp.zeros((1, *transitions.observation.shape), jnp.uint8))
    rows = np.union1d(start, start + 1)
    responses = compute_responses(candidates, frozen, transitions, rows, on_progress)
    if candidates.fit is not None:
        fitted = candidates.fit(responses)
    bits = pack_rows(candidates, fitted, responses)
    del responses  # it is large
    on = np.unpackbits(bits, axis=1, count=candidates.num_tasks).astype(bool)
    before, after = (on[np.searchsorted(rows, row)] for row in (start, start + 1))
    found = controllability(count_changes(before, after, transitions.rows.action[start]))
    dead = on.all(axis=0) | ~on.any(axis=0)
    # Rounded, and then in order, so that the last bit of a logarithm decides nothing.
    best = np.lexsort((-np.round(found, 9), dead))[: indicator.num_tasks]
    return Choice(np.sort(best).astype(np.int32), found)
