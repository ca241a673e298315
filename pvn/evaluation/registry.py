"""All learners, by their names in `config.head`."""

from collections.abc import Callable, Mapping
from typing import Any

from pvn.evaluation.dqn import DqnLearner, DqnSettings
from pvn.evaluation.fqi import FqiLearner, FqiSettings
from pvn.evaluation.learner import Learner, LearnerContext

LEARNERS: dict[str, tuple[type, Callable[[LearnerContext, Any], Learner]]] = {
    "fqi": (FqiSettings, FqiLearner),
    "dqn": (DqnSettings, DqnLearner),
}
"""name -> (class of the settings, class of the learner). The config has a section of each name."""


def make_learner(name: str, context: LearnerContext, settings: Mapping[str, Any]) -> Learner:
    """Makes a learner.

    Args:
      name: a key of `LEARNERS`.
      context: what every learner gets.
      settings: the learner's own settings by name.
    """
    settings_class, learner_class = LEARNERS[name]
    return learner_class(context, settings_class(**settings))
