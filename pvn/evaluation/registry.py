"""The learners by the names that `config.head` may have."""

from collections.abc import Callable, Mapping
from typing import Any

from pvn.evaluation.dqn import DqnLearner, DqnSettings
from pvn.evaluation.fqi import FqiLearner, FqiSettings
from pvn.evaluation.learner import Learner, LearnerContext

LEARNERS: dict[str, tuple[type, Callable[[LearnerContext, Any], Learner]]] = {
    "fqi": (FqiSettings, FqiLearner),
    "dqn": (DqnSettings, DqnLearner),
}
"""Each learner's settings (the section of the config with its name) and its class."""


def make_learner(name: str, context: LearnerContext, settings: Mapping[str, Any]) -> Learner:
    """The learner of this name, with settings by their names."""
    settings_class, learner_class = LEARNERS[name]
    return learner_class(context, settings_class(**settings))
