"""Linear double Q-learning by stochastic gradients: the published evaluation."""

import functools
from collections.abc import Mapping
from math import inf
from typing import Annotated, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pvn.errors import UserError
from pvn.evaluation.head import LinearHead, is_finite, q_values, zero_head
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.replay import FeatureReplay
from pvn.evaluation.state import State, generator_state, restore_generator
from pvn.fields import real, whole
from pvn.types import Interaction

_LOG_EVERY = 10_000  # agent steps


class DqnSettings(NamedTuple):
    """Settings of `DqnLearner`. Periods are in agent steps."""

    update_every: Annotated[int, whole(1)] = 4
    batch_size: Annotated[int, whole(1)] = 32
    learning_rate: Annotated[float, real(0, inf, closed="()")] = 6.25e-5
    adam_epsilon: Annotated[float, real(0, inf, closed="()")] = 1.5e-4
    max_gradient_norm: Annotated[float, real(0, inf, closed="()")] = 10.0
    target_period: Annotated[int, whole(1)] = 2_000


class DqnState(NamedTuple):
    """The values that an update changes."""

    head: LinearHead
    target_head: LinearHead
    opt_state: optax.OptState
    num_updates: jax.Array  # int32
    diverged_at: jax.Array  # int32, the first update that diverged; or -1


def double_q_loss(head: LinearHead, target_head: LinearHead, batch: Interaction) -> jax.Array:
    """Mean of 1/2 (r + discount * Q_target(s', argmax_a Q(s', a)) - Q(s, a))^2 over the batch.

    Features are float32 [B, F], all other arrays [B]. Returns float32 [].

    van Hasselt et al., "Deep Reinforcement Learning with Double Q-learning" (2016).
    """
    chex.assert_rank([batch.features_tm1, batch.a_tm1], [2, 1])
    chex.assert_equal_shape([batch.features_tm1, batch.features_t])
    chex.assert_equal_shape([batch.a_tm1, batch.r_t, batch.discount_t])
    chex.assert_equal_shape_prefix([batch.features_tm1, batch.a_tm1], 1)
    chex.assert_trees_all_equal_shapes(head, target_head)
    best = jnp.argmax(q_values(head, batch.features_t), axis=-1)
    q_t = q_values(target_head, batch.features_t)
    v_t = jnp.take_along_axis(q_t, best[:, None], axis=-1)[:, 0]
    target = jax.lax.stop_gradient(batch.r_t + batch.discount_t * v_t)
    q_tm1 = q_values(head, batch.features_tm1)
    q_a = jnp.take_along_axis(q_tm1, batch.a_tm1[:, None], axis=-1)[:, 0]
    return 0.5 * jnp.mean(jnp.square(target - q_a))


def init_state(num_features: int, num_actions: int, settings: DqnSettings) -> DqnState:
    """The state before the first update: head and target head are zeros."""
    head = zero_head(num_features, num_actions)
    return DqnState(head, head, _optimizer(settings).init(head), jnp.int32(0), jnp.int32(-1))


def largest_loss(discount: float, clip_rewards: bool) -> float:
    """The loss above which a head has diverged.

    With rewards in [-1, 1], no value exceeds 1 / (1 - discount). At this loss, the root mean square
    of the TD errors is 14 times as large. Rewards cannot cause such errors. The loss is infinite
    without clipping, because then values have no bound.

    Args:
      discount: gamma of one agent step.
      clip_rewards: whether rewards are clipped to [-1, 1].
    """
    return 100 / (1 - discount) ** 2 if clip_rewards else float("inf")


@functools.partial(jax.jit, static_argnames=("settings", "max_loss"))
def update(
    state: DqnState, batches: Interaction, settings: DqnSettings, max_loss: float = float("inf")
) -> tuple[DqnState, jax.Array]:
    """Makes K updates on K batches [K, B, ...]. Returns the new state and the mean loss, [].

    Args:
      state: not changed.
      batches: K batches of B interactions.
      settings: `target_period` counts agent steps; it is rounded down to whole updates, at least
        one.
      max_loss: the loss above which the head has diverged; see `largest_loss`.
    """
    optimizer = _optimizer(settings)
    target_period = max(1, settings.target_period // settings.update_every)  # updates

    def one(state: DqnState, batch: Interaction) -> tuple[DqnState, jax.Array]:
        loss, gradient = jax.value_and_grad(double_q_loss)(state.head, state.target_head, batch)
        steps, opt_state = optimizer.update(gradient, state.opt_state)
        head = optax.apply_updates(state.head, steps)
        num_updates = state.num_updates + 1
        target_head = optax.periodic_update(head, state.target_head, num_updates, target_period)
        # Clipping turns an infinite gradient into zero: the head stays finite but never learns.
        sound = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient)) & (loss <= max_loss)
        first = (state.diverged_at < 0) & ~sound
        diverged_at = jnp.where(first, num_updates, state.diverged_at)
        return DqnState(head, target_head, opt_state, num_updates, diverged_at), loss

    state, losses = jax.lax.scan(one, state, batches)
    return state, jnp.mean(losses)


def _optimizer(settings: DqnSettings) -> optax.GradientTransformation:
    return optax.chain(
        optax.clip_by_global_norm(settings.max_gradient_norm),
        optax.adam(settings.learning_rate, eps=settings.adam_epsilon),
    )


class DqnLearner:
    """One gradient update every `update_every` agent steps."""

    diverged_fits = 0  # a run ends at once when its head diverges

    def __init__(self, context: LearnerContext, settings: DqnSettings):
        self._context, self._settings = context, settings
        self._state = init_state(context.num_features, context.num_actions, settings)
        self._max_loss = largest_loss(context.discount, context.clip_rewards)
        self._random = np.random.default_rng([context.seed, 1])
        self._logged_at = 0  # agent step
        self.num_fits = 0

    @property
    def head(self) -> LinearHead:
        """The head after the last update."""
        return self._state.head

    def learn(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Makes the updates that are due, in one dispatch.

        Raises:
          UserError: the head diverged: a loss or gradient was not finite, or a loss exceeded
            `largest_loss`. The check runs only when the loss is logged.
        """
        due = self._num_due(agent_step) - self.num_fits
        if due <= 0:
            return {}
        batch_size = self._settings.batch_size
        flat = replay.sample(self._random, due * batch_size)
        batches = jax.tree.map(lambda x: x.reshape(due, batch_size, *x.shape[1:]), flat)
        self._state, loss = update(self._state, batches, self._settings, self._max_loss)
        self.num_fits += due
        if agent_step - self._logged_at < _LOG_EVERY:
            return {}
        self._logged_at = agent_step
        self._check_finite(agent_step)
        return {"loss": float(loss)}

    def finish(self, replay: FeatureReplay, agent_step: int) -> Mapping[str, float]:
        """Checks the head. It makes no update: `learn` has already made all of them.

        Raises:
          UserError: the head diverged: a loss, a gradient or a weight was not finite, or a loss
            exceeded `largest_loss`.
        """
        self._check_finite(agent_step)
        return {}

    def state(self) -> State:
        """The state of the updates by path, and that of the draws from the replay."""
        leaves = jax.tree_util.tree_leaves_with_path(self._state)
        return {
            **{jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves},
            "random": generator_state(self._random),
            "logged_at": np.array(self._logged_at),
            "num_fits": np.array(self.num_fits),
        }

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned."""
        self._state = jax.tree_util.tree_map_with_path(
            lambda path, _: jnp.asarray(state[jax.tree_util.keystr(path)]), self._state
        )
        restore_generator(self._random, state["random"])
        self._logged_at, self.num_fits = int(state["logged_at"]), int(state["num_fits"])

    def _num_due(self, agent_step: int) -> int:
        """Number of updates that must be complete at this agent step."""
        return (agent_step - self._context.learn_after) // self._settings.update_every

    def _check_finite(self, agent_step: int) -> None:
        number = int(self._state.diverged_at)
        if number >= 0:
            agent_step = self._context.learn_after + number * self._settings.update_every
        elif is_finite(self.head):
            return
        raise UserError(
            "dqn: the head diverged: its loss, gradient or weights are not finite, or its loss is "
            f"far above what rewards allow, at agent step {agent_step:,}; lower "
            f"config.dqn.learning_rate ({self._settings.learning_rate:g})"
        )
