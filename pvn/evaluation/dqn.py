"""Q-learning by stochastic gradients: of a head on frozen features, or of the encoder too.

With frozen features and a linear head it is the published evaluation. With an encoder that learns
too it is fine-tuning, or DQN if the encoder was not trained before (Mnih et al. 2015).
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.evaluation.acting import Actor
from pvn.evaluation.head import init_head, is_finite
from pvn.evaluation.learner import Acted, LearnerContext, Policy
from pvn.evaluation.q_learning import (
    DqnSettings,
    QParams,
    encode_frames,
    frozen,
    init_state,
    largest_loss,
    update,
)
from pvn.evaluation.replay import FeatureBuffer, FrameBuffer, Replay, StateBuffer
from pvn.evaluation.sampling import Draw, Priorities, draw_uniform
from pvn.evaluation.state import (
    State,
    generator_state,
    restore_generator,
    with_prefix,
    without_prefix,
)
from pvn.evaluation.values import Values
from pvn.features import Features
from pvn.features.description import ENCODER
from pvn.networks.network import Network

_LOG_EVERY = 10_000  # agent steps


def with_params(features: Features, params: Any) -> Features:
    """The same encoder with other parameters, a nested dictionary of NumPy arrays."""
    metadata = {key: features.metadata[key] for key in ENCODER if key in features.metadata}
    metadata["observation_shape"] = list(features.observation_shape)
    network = Network(lambda *_: params, features.apply)
    return Features(network, params, metadata, features.folder)


class DqnLearner:
    """One gradient update every `update_every` agent steps."""

    gradual = True
    diverged_fits = 0  # an update that diverges ends the run, at the next row of metrics

    def __init__(self, context: LearnerContext, settings: DqnSettings, kind: Values):
        """kind: what the outputs of the head mean."""
        self._context, self._settings, self._kind = context, settings, kind
        self._trains_encoder = settings.encoder_learning_rate > 0
        features = context.features
        head = init_head(
            context.num_features,
            context.num_actions * self._kind.num_outputs,
            settings.hidden_units,
            context.seed,
            settings.random_output,
        )
        encoder = features.device_params if self._trains_encoder else None
        self.train_state = init_state(QParams(head, encoder), settings)
        self.update = functools.partial(
            update,
            settings=settings,
            num_actions=context.num_actions,
            encode=encode_frames(features, context.observation) if self._trains_encoder else frozen,
            kind=self._kind,
            max_loss=largest_loss(self._kind, context.discount, context.clip_rewards),
        )
        self._actor = Actor(features, self._kind, context.num_actions)
        self._random = np.random.default_rng([context.seed, 1])
        self._priorities: Priorities | None = None
        self._saved_priorities: State | None = None
        self._unapplied: tuple[Replay, Draw, list[jax.Array]] | None = None
        self._logged_at = self._logged_fits = 0  # agent step and updates at the last log
        self.num_fits = 0

    def act(self, observation: np.ndarray) -> Acted:
        """Features and greedy actions, after the updates so far."""
        head, encoder = self.train_state.params
        return self._actor(head, observation, encoder)

    def to_keep(self, observation: np.ndarray, acted: Acted) -> np.ndarray:
        """The replay keeps the newest frames if the encoder is trained, else features."""
        if self._trains_encoder:
            return self._context.observation.newest(observation).copy()
        return acted.features

    def state_buffer(self, capacity: int, num_envs: int) -> StateBuffer:
        """Frames if the encoder is trained, else features."""
        if self._trains_encoder:
            return FrameBuffer(capacity, num_envs, self._context.observation)
        return FeatureBuffer(capacity, num_envs, self._context.num_features)

    def replay_bytes(self, rows: int) -> int:
        """The frames, or the features."""
        c = self._context
        return rows * (c.observation.frame_bytes if self._trains_encoder else 4 * c.num_features)

    def learn(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Dispatches the updates that are due; they run while the emulators step.

        Raises:
          UserError: the head diverged: a loss or gradient was not finite, or a loss exceeded
            `largest_loss`. The check runs only when the loss is logged.
        """
        due = self._num_due(agent_step) - self.num_fits
        if due <= 0:
            return {}
        self._make_updates(replay, due)
        if agent_step - self._logged_at < _LOG_EVERY:
            return {}
        return self._log(agent_step)

    def finish(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Makes the updates that are left, and checks the head.

        Raises:
          UserError: the head diverged: a loss, a gradient or a weight was not finite, or a loss
            exceeded `largest_loss`.
        """
        due = self._num_due(agent_step) - self.num_fits
        if due > 0:
            self._make_updates(replay, due)
        return self._log(agent_step)

    def _make_updates(self, replay: Replay, count: int) -> None:
        """Draws `count` batches, and makes an update with each."""
        size = self._settings.batch_size
        draw = self._draw(replay, count * size)
        period = max(1, self._settings.target_period // self._settings.update_every)  # updates
        losses = []
        for number in range(count):
            rows = slice(number * size, (number + 1) * size)
            batch = replay.gather(draw.time[rows], draw.env[rows])
            self.train_state, loss = self.update(self.train_state, batch, draw.weight[rows])
            losses.append(loss)
            self.num_fits += 1
            if self.num_fits % period == 0:
                self.train_state = self.train_state._replace(target=self.train_state.params)
        if self._priorities:
            self._unapplied = replay, draw, losses

    def _apply_losses(self) -> None:
        """Makes the losses of the last updates priorities. It waits for the updates, so it is
        called as late as possible."""
        if self._unapplied and self._priorities:
            replay, draw, losses = self._unapplied
            self._priorities.update(replay, draw, np.concatenate(losses))
        self._unapplied = None

    def _draw(self, replay: Replay, count: int) -> Draw:
        settings = self._settings
        self._apply_losses()
        if not settings.priority_exponent:
            return draw_uniform(replay, self._random, count)
        if self._priorities is None:
            self._priorities = Priorities(
                replay, settings.priority_exponent, settings.importance_exponent
            )
            if self._saved_priorities is not None:
                self._priorities.restore(self._saved_priorities)
        return self._priorities.draw(replay, self._random, count, settings.batch_size)

    def policy(self) -> Policy:
        """The features, trained or frozen, and the head after the last update."""
        head, encoder = self.train_state.params
        features = self._context.features
        if encoder is not None:
            features = with_params(features, jax.device_get(encoder))
        return Policy(features, head, self._kind, self._context.num_actions)

    def state(self) -> State:
        """The state of the updates by path, and that of the draws from the replay."""
        leaves = jax.tree_util.tree_leaves_with_path(self.train_state)
        self._apply_losses()
        priorities = self._priorities.state() if self._priorities else self._saved_priorities or {}
        return {
            **{jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves},
            **with_prefix("priorities/", priorities),
            "random": generator_state(self._random),
            "logged": np.array([self._logged_at, self._logged_fits]),
            "num_fits": np.array(self.num_fits),
        }

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned."""
        self.train_state = jax.tree_util.tree_map_with_path(
            lambda path, _: jnp.asarray(state[jax.tree_util.keystr(path)]), self.train_state
        )
        self._saved_priorities = without_prefix("priorities/", state) or None
        restore_generator(self._random, state["random"])
        self._logged_at, self._logged_fits = (int(x) for x in state["logged"])
        self.num_fits = int(state["num_fits"])

    def _num_due(self, agent_step: int) -> int:
        """Number of updates that must be complete at this agent step."""
        return (agent_step - self._context.learn_after) // self._settings.update_every

    def _log(self, agent_step: int) -> Mapping[str, float]:
        self._check_finite(agent_step)
        count, loss = self.num_fits - self._logged_fits, float(self.train_state.loss_sum)
        self._logged_at, self._logged_fits = agent_step, self.num_fits
        self.train_state = self.train_state._replace(loss_sum=jnp.float32(0))
        return {"loss": loss / count} if count else {}

    def _check_finite(self, agent_step: int) -> None:
        number = int(self.train_state.diverged_at)
        if number >= 0:
            agent_step = self._context.learn_after + number * self._settings.update_every
        elif is_finite(self.train_state.params.head):
            return
        raise UserError(
            "dqn: the head diverged: its loss, gradient or weights are not finite, or its loss is "
            f"far above what rewards allow, at agent step {agent_step:,}; lower "
            f"config.dqn.learning_rate ({self._settings.learning_rate:g})"
        )
