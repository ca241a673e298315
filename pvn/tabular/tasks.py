"""The auxiliary tasks of a small MDP: functions of its states, or of images of its states."""

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
    """One task for each state, on only in that state."""

    def of_states(self, num_states: int, num_tasks: int) -> Indicator:
        """The S tasks.

        Raises:
          UserError: `num_tasks` is not `num_states`.
        """
        if num_tasks != num_states:
            raise UserError(
                f"config.num_tasks: {num_tasks}, expected 0 or {num_states}: state_equality has "
                "a task for each state"
            )
        return state_equality(num_states)


class RandomSets(NamedTuple):
    """Settings of random sets of states."""

    proportion: Annotated[float, real(0, 1, closed="()")] = 0.1  # p, of states in a set

    def of_states(self, num_states: int, num_tasks: int) -> Indicator:
        """T random sets. Each of the S states is independently in a set with probability p."""
        return random_sets(num_states=num_states, num_tasks=num_tasks, proportion=self.proportion)


STATE_FAMILIES: dict[str, type] = {"state_equality": StateEquality, "random_sets": RandomSets}


class TaskMaker(NamedTuple):
    """Makes tasks on the states of one MDP. Call it with the name of a family."""

    states: np.ndarray  # float32 [S, S], one-hot rows
    images: Callable[[], np.ndarray]  # returns images of the states, uint8 [S, 84, 84, 4]
    families: Mapping[str, Any]  # family (its settings) by name
    seed: int

    def __call__(self, name: str, num_tasks: int, draw: int = 0) -> Tasks:
        """T tasks of the family `name`. Different `draw` give different random tasks.

        Raises:
          UserError: the family refuses `num_tasks`, learns thresholds by regression, or needs
            images that cannot be drawn.
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
    """float64 [S, T]: the cumulants of tasks from `TaskMaker` in all states."""
    assert isinstance(tasks.responses, np.ndarray)
    return np.asarray(tasks.cumulants(tasks.responses), np.float64)
