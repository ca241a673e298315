"""What learners of a linear head on frozen features in closed form have in common."""

import jax.numpy as jnp
import numpy as np

from pvn.evaluation.acting import Actor
from pvn.evaluation.head import Layer
from pvn.evaluation.learner import Acted, LearnerContext, Policy
from pvn.evaluation.replay import FeatureBuffer, StateBuffer
from pvn.evaluation.values import ActionValue


class LinearLearner:
    """Action values Q(s, a) = x(s) @ kernel[:, a] + bias[a]; the weights are 0 at first."""

    gradual = False

    def __init__(self, context: LearnerContext):
        self._context = context
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

    def policy(self) -> Policy:
        """The features and the head of the newest fit."""
        context = self._context
        return Policy(context.features, (self.head,), ActionValue(), context.num_actions)
