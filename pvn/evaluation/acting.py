"""How a policy acts: features and greedy actions of a batch of observations, in one dispatch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.evaluation.head import Head, outputs
from pvn.evaluation.learner import Acted
from pvn.evaluation.values import Values
from pvn.features import Features


class Actor:
    """Maps observations uint8 [E, H, W, C] to their features and greedy actions."""

    def __init__(self, features: Features, kind: Values, num_actions: int):
        """kind: what the outputs of the head mean."""

        def act(params: Any, head: Head, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = features.apply(params, observation)
            return x, jnp.argmax(kind.values(outputs(head, x, num_actions)), axis=-1)

        self._features, self._act = features, jax.jit(act)

    def __call__(self, head: Head, observation: np.ndarray, params: Any = None) -> Acted:
        """Features float32 [E, F] and greedy actions.

        params: of the encoder; None: those of the features.
        """
        params = self._features.device_params if params is None else params
        features, greedy = self._act(params, head, observation)
        return Acted(np.asarray(features), np.asarray(greedy, np.int32))
