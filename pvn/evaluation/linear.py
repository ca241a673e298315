"""What learners of a linear head on frozen features in closed form have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from pvn.evaluation.acting import Actor
from pvn.evaluation.head import Layer
from pvn.evaluation.learner import Acted, LearnerContext, Policy
from pvn.evaluation.replay import FeatureBuffer, Replay, StateBuffer
from pvn.evaluation.values import ActionValue


class LinearLearner(ABC):
    """Action values Q(s, a) = x(s) @ kernel[:, a] + bias[a]; the weights are 0 at first."""

    gradual = False

    def __init__(self, context: LearnerContext, refit_every: int):
        """refit_every: agent steps between fits to the whole replay."""
        self._context, self._refit_every = context, refit_every
        self._next_fit, self._fitted_at = context.learn_after, -1  # agent steps
        self.head = Layer(
            jnp.zeros((context.num_features, context.num_actions)), jnp.zeros(context.num_actions)
        )
        self._actor = Actor(context.features, ActionValue(), context.num_actions)

    def act(self, observation: np.ndarray) -> Acted:
        """Features and greedy actions."""
        return self._actor((self.head,), observation)

    def to_keep(self, observation: np.ndarray, acted: Acted) -> np.ndarray:
        """The replay keeps features."""
        return acted.features

    def state_buffer(self, capacity: int, num_envs: int) -> StateBuffer:
        """A buffer of features."""
        return FeatureBuffer(capacity, num_envs, self._context.num_features)

    def replay_bytes(self, rows: int) -> int:
        """The features, and a fit's copy of them."""
        return 2 * 4 * rows * self._context.num_features

    def learn(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Makes a fit if one is due: at `learn_after`, and at multiples of `refit_every`."""
        if agent_step < self._next_fit:
            return {}
        self._next_fit = (agent_step // self._refit_every + 1) * self._refit_every
        self._fitted_at = agent_step
        return self._fit(replay)

    def finish(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Makes the last fit to the whole replay, unless `learn` made it at this agent step."""
        if self._fitted_at == agent_step:
            return {}
        self._fitted_at = agent_step
        return self._fit(replay)

    @abstractmethod
    def _fit(self, replay: Replay) -> Mapping[str, float]:
        """Fits the head to the whole replay. Returns the metrics to log."""

    def policy(self) -> Policy:
        """The features and the head of the newest fit."""
        context = self._context
        return Policy(context.features, (self.head,), ActionValue(), context.num_actions)
