"""Chooses tasks that the agent controls among many random ones.

Most random tasks are about what moves by itself, and their values say nothing about what to do. So
more tasks are drawn than wanted, and those are kept whose next cumulant the action says most about.
The controllability of a task is the adjusted R^2 of a regression over transitions of the dataset:

    r = C' - f(s)             what the present state does not say about the next cumulant C'
    e = one-hot(A) - g(s)     what it does not say about the action A
    r on e, with other weights where the present cumulant C is 0 and where it is 1

f and g are ridge regressions on the cumulants of up to 1,000 candidates (Robinson 1988). Without
them a good player's actions would seem to cause what they only react to; with them the random part
of its actions tells. A player without a random part tells nothing, but what it reacts to in a way
that is not linear still seems to be controlled. The adjustment takes away what chance adds. The
measure looks one step ahead: what a player moves at once counts, what that moves later does not.
"Contingency awareness" (Bellemare, Veness and Bowling 2012, "Investigating contingency awareness
using Atari 2600 games") means the same, and learns which part of the screen it is.
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
from pvn.indicators.packed import pack_rows, packed
from pvn.indicators.responses import compute_responses
from pvn.ridge import Ridge

MOST_CANDIDATES = 131_072
_MOST_TRANSITIONS = 32_768
MOST_BYTES = 2**30  # of responses that thresholds are fitted to, and of all cumulants
_MOST_PREDICTORS = 1_000  # candidates that the ridge regressions are on
_PENALTY = 0.01  # of the ridge regressions, on predictors of variance 1
_LEAST_RESIDUAL = 1e-4  # mean square of r; less counts as this, or what hardly changes would win
_LEAST_DIRECTION = 1e-4  # variance of a direction of e in a group; the others are not used
_BLOCK = 512  # candidates that are measured together


class Choice(NamedTuple):
    """Which T of C candidates are kept."""

    kept: np.ndarray  # int32 [T], ascending
    controllability: np.ndarray  # float64 [C], of all candidates
    chance: float  # of one that no action changes, the controllability is hardly ever above

    @property
    def num_by_chance(self) -> int:
        """How many of those kept no action may change."""
        return int(np.sum(self.controllability[self.kept] <= self.chance))

    def __str__(self) -> str:
        lowest, highest, median = (
            f"{max(share, 0):.1%}"
            for share in (
                self.controllability[self.kept].min(),
                self.controllability[self.kept].max(),
                float(np.median(self.controllability)),
            )
        )
        return (
            f"{len(self.kept):,} of {len(self.controllability):,} candidates, of controllability "
            f"{lowest} to {highest} (the median of all: {median}; by chance: {self.chance:.2%})"
        )


def controllability(
    cumulants: np.ndarray, before: np.ndarray, after: np.ndarray, action: np.ndarray
) -> np.ndarray:
    """float64 [T], at most 1: of each task, see above; 0 if it is the same in all states.

    Args:
      cumulants: bool [R, T], of T tasks in R states.
      before, after: int [M], the states of M transitions.
      action: int [M].
    """
    most = min(_MOST_PREDICTORS, len(action) // 4)  # else too little is left unpredicted
    stride = -(-cumulants.shape[1] // max(most, 1))
    predictors = cumulants[before, ::stride].astype(np.float32)
    ridge = Ridge(predictors)
    left = 1 - ridge.freedom(_PENALTY) / len(action)

    def unexplained(targets: np.ndarray) -> np.ndarray:
        weights, intercepts = ridge.weights(ridge.moments(targets), _PENALTY)
        predicted = predictors @ weights.astype(np.float32)
        return targets - predicted - intercepts.astype(np.float32)[None]

    chosen = unexplained((action[:, None] == np.unique(action)[None]).astype(np.float32))
    found = []
    for at in range(0, cumulants.shape[1], _BLOCK):
        block = cumulants[:, at : at + _BLOCK]
        following = unexplained(block[after].astype(np.float32))
        found.append(adjusted_r2(chosen, following, block[before], left))
    return np.concatenate(found)


def adjusted_r2(x: np.ndarray, y: np.ndarray, group: np.ndarray, left: float = 1) -> np.ndarray:
    """float64 [T]: the adjusted R^2 of regressions of y on x, one for each of two groups of rows.

    It is the sum over groups of S - df V, divided by that of S_all. S: the sum of squares that the
    regression explains, with df directions of x. V: the variance of what it leaves. S_all: the sum
    of squares around the group's mean, in all at least 1e-4 M.

    x: float [M, K]. y: float [M, T]. group: bool [M, T]. left: the share of the degrees of freedom
    that earlier regressions have left.
    """
    (number, width), num_tasks = x.shape, y.shape[1]
    products = (x[:, :, None] * x[:, None]).reshape(number, width * width)
    explained, all_squares = np.zeros(num_tasks), np.zeros(num_tasks)
    for value in (False, True):
        inside = (group == value).astype(y.dtype)
        of_group = inside * y
        count = inside.sum(axis=0, dtype=np.float64)
        mean_y = of_group.sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        mean_x = (inside.T @ x).astype(np.float64) / np.maximum(count, 1)[:, None]  # [T, K]
        xx = (inside.T @ products).astype(np.float64).reshape(num_tasks, width, width)
        xx -= count[:, None, None] * mean_x[:, :, None] * mean_x[:, None]
        xy = (of_group.T @ x).astype(np.float64) - (count * mean_y)[:, None] * mean_x
        values, vectors = np.linalg.eigh(xx)
        used = values > _LEAST_DIRECTION * np.maximum(count, 1)[:, None]
        used &= (left * count > 2 * width + 2)[:, None]  # so that V is known
        along = np.einsum("tkd,tk->td", vectors, xy)
        squares = np.sum(np.square(along) * used / np.where(used, values, 1), axis=1)
        directions = used.sum(axis=1)
        of_all = np.square(of_group).sum(axis=0, dtype=np.float64) - count * mean_y**2
        variance = (of_all - squares) / np.maximum(left * count - directions - 1, 1)
        explained += squares - directions * variance
        all_squares += of_all
    return explained / np.maximum(all_squares, _LEAST_RESIDUAL * number)


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
    return min(available, _MOST_TRANSITIONS, MOST_BYTES // (2 * num_candidates))


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
      UserError: there is one action alone, no transition has a next state, or a cumulant is
        neither 0 nor 1.
    """
    assert indicator.candidates is not None
    candidates = indicator.candidates.tasks
    start = transitions.start[~transitions.rows.terminal[transitions.start]]
    actions = transitions.rows.action
    if len(np.unique(actions[start])) < 2:
        raise UserError(
            "config.candidates_per_task: above 1, expected 1 for data with fewer than two actions"
        )
    count = num_transitions(len(start), candidates.num_tasks)
    # Without replacement: what is subtracted for chance is for independent transitions.
    start = np.sort(generator(seed, Stream.CHOICE).choice(start, count, replace=False))
    frozen, fitted = candidates.init(key, jnp.zeros((1, *transitions.observation.shape), jnp.uint8))
    rows = np.union1d(start, start + 1)
    fit_on = rows[:: -(-len(rows) * candidates.num_tasks * 4 // MOST_BYTES)]
    responses = compute_responses(candidates, frozen, transitions, fit_on, on_progress)
    if candidates.fit is not None:
        fitted = candidates.fit(responses)
    bits = pack_rows(candidates, fitted, responses)
    del responses  # it is large
    if len(fit_on) < len(rows):
        of_all = packed(candidates, fitted)
        bits = compute_responses(of_all, frozen, transitions, rows, on_progress)
    cumulants = np.unpackbits(bits, axis=1, count=candidates.num_tasks).view(bool)
    before, after = (np.searchsorted(rows, row) for row in (start, start + 1))
    found = controllability(cumulants, before, after, actions[start])
    dead = cumulants.all(axis=0) | ~cumulants.any(axis=0)
    # Rounded, and then in order, so that the last bits of sums decide little.
    best = np.lexsort((-np.round(found, 6), dead))[: indicator.num_tasks]
    directions = 2 * (len(np.unique(actions[start])) - 1)
    chance = 4 * float(np.sqrt(2 * directions)) / count  # four standard deviations
    return Choice(np.sort(best).astype(np.int32), found, chance)
