"""A linear double-Q head trained by stochastic gradients: the published evaluation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pvn.types import Interaction

Head = dict[str, jax.Array]  # kernel [F, A], bias [A]


class DqnState(NamedTuple):
    """The learner's state."""

    head: Head
    target_head: Head
    opt_state: optax.OptState
    updates: jax.Array  # int32


def action_values(head: Head, features: jax.Array) -> jax.Array:
    """float32 [B, A] of features [B, F]."""
    return features @ head["kernel"] + head["bias"][None]


def zero_head(num_features: int, num_actions: int) -> Head:
    """A head that values everything 0."""
    return {
        "kernel": jnp.zeros((num_features, num_actions)),
        "bias": jnp.zeros(num_actions),
    }


def double_q_loss(head: Head, target_head: Head, batch: Interaction) -> jax.Array:
    """Mean of 1/2 (r + discount * Q_target(s', argmax_a Q(s', a)) - Q(s, a))^2 over the batch.

    van Hasselt et al., "Deep Reinforcement Learning with Double Q-learning" (2016).
    """
    best = jnp.argmax(action_values(head, batch.features_t), axis=-1)
    q_t = action_values(target_head, batch.features_t)
    v_t = jnp.take_along_axis(q_t, best[:, None], axis=-1)[:, 0]
    target = jax.lax.stop_gradient(batch.r_t + batch.discount_t * v_t)
    q_tm1 = action_values(head, batch.features_tm1)
    q_a = jnp.take_along_axis(q_tm1, batch.a_tm1[:, None], axis=-1)[:, 0]
    return 0.5 * jnp.mean(jnp.square(target - q_a))


def make_dqn(
    *,
    num_features: int,
    num_actions: int,
    learning_rate: float,
    adam_epsilon: float,
    max_gradient_norm: float,
    target_period: int,
) -> tuple[DqnState, Callable[[DqnState, Interaction], tuple[DqnState, jax.Array]]]:
    """(initial state, update). `update` takes K batches [K, B, ...] and makes K updates.

    target_period: updates between copies to the target head.
    Returns of update: the new state and the mean loss.
    """
    optimizer = optax.chain(
        optax.clip_by_global_norm(max_gradient_norm), optax.adam(learning_rate, eps=adam_epsilon)
    )
    head = zero_head(num_features, num_actions)

    def one(state: DqnState, batch: Interaction) -> tuple[DqnState, jax.Array]:
        loss, gradient = jax.value_and_grad(double_q_loss)(state.head, state.target_head, batch)
        steps, opt_state = optimizer.update(gradient, state.opt_state)
        head = optax.apply_updates(state.head, steps)
        updates = state.updates + 1
        target_head = optax.periodic_update(head, state.target_head, updates, target_period)
        return DqnState(head, target_head, opt_state, updates), loss

    @jax.jit
    def update(state: DqnState, batches: Interaction) -> tuple[DqnState, jax.Array]:
        state, losses = jax.lax.scan(one, state, batches)
        return state, jnp.mean(losses)

    state = DqnState(head, jax.tree.map(np.copy, head), optimizer.init(head), jnp.int32(0))
    return state, update
