"""The interface of a learner: it fits a linear head to a replay while the agent plays.

A learner is one file with two classes. The settings are a NamedTuple; its annotations say which
values are valid. The learner is made from a `LearnerContext` and its settings.
`pvn.evaluation.registry` lists all learners.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from pvn.evaluation.head import LinearHead
from pvn.evaluation.replay import FeatureReplay
from pvn.evaluation.state import State


class LearnerContext(NamedTuple):
    """The arguments that every learner gets besides its own settings."""

    num_features: int
    num_actions: int
    num_envs: int
    discount: float  # gamma of one agent step
    n_step: int  # number of rewards that are summed before bootstrapping
    clip_rewards: bool  # whether the replay's rewards are clipped to [-1, 1]
    learn_after: int  # agent steps before the first update or fit
    seed: int


class Learner(Protocol):
    """Fits a head.

    `learn` is called after every timestep, as soon as the replay holds a whole interaction.
    `finish` is called once, after the last timestep. Both return the metrics to log by name; the
    mapping may be empty. Both raise `UserError` if learning cannot continue.
    """

    @property
    def head(self) -> LinearHead:
        """The current head. All its weights are 0 before the first fit."""
        ...

    @property
    def num_fits(self) -> int:
        """Number of fits or updates behind `head`. While it is 0 the agent plays at random."""
        ...

    @property
    def diverged_fits(self) -> int:
        """Number of fits that diverged and were not used."""
        ...

    def learn(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Makes the updates, or the fit, that are due at this agent step."""
        ...

    def finish(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Makes the last fit. Afterwards `head` is finite, or `num_fits` is 0."""
        ...

    def state(self) -> State:
        """Everything that changes, the random number generator included."""
        ...

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned, bit for bit."""
        ...
