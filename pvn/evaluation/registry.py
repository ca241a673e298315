"""All learners, by their names in `config.head`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pvn.evaluation.dqn import DqnLearner
from pvn.evaluation.fqi import FqiLearner, FqiSettings
from pvn.evaluation.learner import Learner, LearnerContext
from pvn.evaluation.q_learning import DqnSettings
from pvn.evaluation.successor import SuccessorLearner, SuccessorSettings
from pvn.evaluation.values import VALUES


class Entry(NamedTuple):
    """A learner: the sections of the config that it reads, and how it is made from them."""

    sections: tuple[str, ...]
    make: Callable[..., Learner]  # (context, settings of each section) -> learner

    @property
    def gradual(self) -> bool:
        """Whether it learns by gradients, and so can train the encoder."""
        return bool(getattr(self.make, "gradual", False))


SECTIONS: dict[str, type[Any]] = {
    "fqi": FqiSettings,
    "dqn": DqnSettings,
    **VALUES,
    "successor": SuccessorSettings,
}
"""The sections of a config that belong to learners, and the class of each one's settings."""

LEARNERS: dict[str, Entry] = {
    "fqi": Entry(("fqi",), FqiLearner),
    "dqn": Entry(("dqn", "value"), DqnLearner),
    "c51": Entry(("dqn", "c51"), DqnLearner),
    "hl_gauss": Entry(("dqn", "hl_gauss"), DqnLearner),
    "successor": Entry(("successor",), SuccessorLearner),
}
"""name -> learner."""


def make_learner(
    name: str, context: LearnerContext, config: Mapping[str, Mapping[str, Any]]
) -> Learner:
    """Makes a learner.

    Args:
      name: a key of `LEARNERS`.
      context: what every learner gets.
      config: the settings of each section by name; may have more sections than the learner reads.
    """
    entry = LEARNERS[name]
    return entry.make(context, *(SECTIONS[each](**config[each]) for each in entry.sections))


def trains_encoder(name: str, config: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the learner trains the encoder too. Arguments are as in `make_learner`."""
    return LEARNERS[name].gradual and config["dqn"]["encoder_learning_rate"] > 0
