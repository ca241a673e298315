"""What a learner is: it fits a linear head to the interactions in a replay, while they are made.

A learner is one file: its settings, a NamedTuple whose annotations carry their fields, and a class
that is made from a `LearnerContext` and these settings. `pvn.evaluation.registry` names it.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from pvn.evaluation.head import LinearHead
from pvn.evaluation.replay import FeatureReplay


class LearnerContext(NamedTuple):
    """What every learner is given besides its own settings."""

    num_features: int
    num_actions: int
    num_envs: int
    discount: float  # gamma of one agent step
    n_step: int  # rewards summed before bootstrapping
    clip_rewards: bool  # whether the replay's rewards are clipped to [-1, 1]
    learn_after: int  # agent steps before the first update or fit
    seed: int


class Learner(Protocol):
    """Fits a head. `learn` is called after every timestep, `finish` once, after the last one.

    Both return what to log, perhaps nothing. They raise `UserError` where learning cannot go on.
    """

    @property
    def head(self) -> LinearHead:
        """Zeros until the first fit."""
        ...

    @property
    def num_fits(self) -> int:
        """Fits or updates that made `head`. While it is 0 the agent plays at random."""
        ...

    @property
    def diverged_fits(self) -> int:
        """Fits that diverged and were not used."""
        ...

    def learn(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Makes the updates or the fit that is due at this agent step."""
        ...

    def finish(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Makes the last fit. Then `head` is finite, if `num_fits` is not 0."""
        ...
