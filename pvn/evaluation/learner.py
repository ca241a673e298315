"""The interface of a learner: it learns to play from a replay while the agent plays.

A learner is made from a `LearnerContext` and its settings, a NamedTuple whose annotations say which
values are valid.
`pvn.evaluation.registry` lists all learners.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from pvn.evaluation.head import Head
from pvn.evaluation.replay import Replay, StateBuffer
from pvn.evaluation.state import State
from pvn.evaluation.values import Values
from pvn.features import Features
from pvn.types import ObservationSpec


class LearnerContext(NamedTuple):
    """The arguments that every learner gets besides its own settings."""

    features: Features
    num_actions: int
    num_envs: int
    discount: float  # gamma of one agent step
    n_step: int  # number of rewards that are summed before bootstrapping
    clip_rewards: bool  # whether the replay's rewards are clipped to [-1, 1]
    learn_after: int  # agent steps before the first update or fit
    seed: int
    observation: ObservationSpec

    @property
    def num_features(self) -> int:
        """F."""
        return self.features.num_features


class Policy(NamedTuple):
    """What plays: features, a head on them, and what its outputs mean."""

    features: Features
    head: Head
    values: Values
    num_actions: int


class Acted(NamedTuple):
    """The choice of a learner for E observations."""

    features: np.ndarray  # float32 [E, F]
    greedy: np.ndarray  # int32 [E], the actions of highest value


class Learner(Protocol):
    """Learns to play.

    `learn` is called before every timestep, as soon as the replay holds a whole interaction; from
    labels it is called for every few of them if the learner is `gradual`, and else not at all.
    `finish` is called once, after the last timestep. Both return the metrics to log by name; the
    mapping may be empty. Both raise `UserError` if learning cannot continue.
    """

    @property
    def gradual(self) -> bool:
        """Whether `learn` makes many small updates, and not a fit to the whole replay."""
        ...

    @property
    def num_fits(self) -> int:
        """Number of fits or updates so far. While it is 0 the agent plays at random."""
        ...

    @property
    def diverged_fits(self) -> int:
        """Number of fits that diverged and were not used."""
        ...

    def act(self, observation: np.ndarray) -> Acted:
        """Features and greedy actions, by the newest fit, of observations uint8 [E, H, W, C]."""
        ...

    def to_keep(self, observation: np.ndarray, acted: Acted) -> np.ndarray:
        """What the replay keeps of the observations, [E, ...]. acted: the result of `act`."""
        ...

    def state_buffer(self, capacity: int, num_envs: int) -> StateBuffer:
        """An empty buffer for what the replay keeps of `capacity` timesteps of E environments."""
        ...

    def replay_bytes(self, rows: int) -> int:
        """About the bytes that a replay of so many rows takes, with what learning from it adds."""
        ...

    def learn(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Makes the updates, or the fit, that are due.

        agent_step: number of agent steps that were added to the replay.
        """
        ...

    def finish(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Makes the last fit. Afterwards all weights are finite, or `num_fits` is 0."""
        ...

    def policy(self) -> Policy:
        """What was learned."""
        ...

    def state(self) -> State:
        """Everything that changes, the random number generator included."""
        ...

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned, bit for bit."""
        ...
