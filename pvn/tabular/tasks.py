"""The auxiliary tasks of a small MDP: of its states, or of pictures of its states as on Atari."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from pvn.errors import UserError
from pvn.fields import real
from pvn.indicators.indicator import Indicator
from pvn.indicators.registry import make_indicator
from pvn.indicators.state_sets import random_sets, state_equality
from pvn.indicators.tasks import Tasks, tasks_of_states


class StateEquality(NamedTuple):
    """A task for each state: it is on in that state alone."""

    def of_states(self, num_states: int, num_tasks: int) -> Indicator:
        """The S tasks.

        Raises:
          UserError: T is not S.
        """
        if num_tasks != num_states:
            raise UserError(
                f"config.num_tasks: {num_tasks}, expected 0 or {num_states}: state_equality has "
                "a task for each state"
            )
        return state_equality(num_states)


class RandomSets(NamedTuple):
    """Sets of which each state is a member independently."""

    proportion: Annotated[float, real(0, 1, closed="()")] = 0.1  # p, of states in a set

    def of_states(self, num_states: int, num_tasks: int) -> Indicator:
        """T sets of S states."""
        return random_sets(num_states=num_states, num_tasks=num_tasks, proportion=self.proportion)


STATE_FAMILIES: dict[str, type] = {"state_equality": StateEquality, "random_sets": RandomSets}


class TaskMaker(NamedTuple):
    """Makes tasks on the states of one MDP."""

    states: np.ndarray  # float32 [S, S], one-hot rows
    images: Callable[[], np.ndarray]  # draws the states, uint8 [S, 84, 84, 4]
    families: Mapping[str, Any]  # settings by the family's name
    seed: int

    def __call__(self, name: str, num_tasks: int, draw: int = 0) -> Tasks:
        """T tasks of the family `name`; another `draw` gives other tasks.

        Raises:
          UserError: not as many tasks as states of state_equality; what the family refuses.
        """
        family = self.families[name]
        observation = self.states
        if name in STATE_FAMILIES:
            indicator = family.of_states(len(self.states), num_tasks)
        else:
            observation = self.images()
            indicator = make_indicator(name, family, num_tasks)
            if indicator.loss is not None:
                raise UserError(
                    f"config.{name}.threshold_from: thresholds are not regressed here, expected "
                    "dataset"
                )
        key = jax.random.fold_in(jax.random.key(self.seed), 1 + draw)
        return tasks_of_states(indicator, key, observation)


def cumulants_of(tasks: Tasks) -> np.ndarray:
    """float64 [S, T], of tasks on all states."""
    assert tasks.responses is not None
    return np.asarray(tasks.cumulants(tasks.responses), np.float64)
