"""The loss and its targets for successor measures (Farebrother et al. 2023, section 3)."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

NextValue = Callable[[jax.Array, jax.Array], jax.Array]


def uniform_policy_value(q_t: jax.Array, a_t: jax.Array) -> jax.Array:
    """[B, T]: value of the next state under the uniformly random policy, the published one.

    It is the mean of q_t [B, T, A] over actions. a_t int32 [B] is not used.
    """
    chex.assert_rank([q_t, a_t], [3, 1])
    del a_t
    return jnp.mean(q_t, axis=-1)


def behaviour_value(q_t: jax.Array, a_t: jax.Array) -> jax.Array:
    """[B, T]: q_t [B, T, A] at the action a_t int32 [B] that the behaviour policy took (SARSA)."""
    chex.assert_rank([q_t, a_t], [3, 1])
    chex.assert_equal_shape_prefix([q_t, a_t], 1)
    return jnp.take_along_axis(q_t, a_t[:, None, None], axis=-1)[..., 0]


TARGET_POLICIES: dict[str, NextValue] = {
    "uniform": uniform_policy_value,
    "behaviour": behaviour_value,
}


def td_target(
    cumulant_tm1: jax.Array, discount_t: jax.Array, v_t: jax.Array, gamma: float | np.ndarray
) -> jax.Array:
    """[B, T]: the one-step target c(s) + gamma * discount_t * v_t, without a maximum.

    The cumulant belongs to the state that the transition starts from. So the value of a set of
    states also counts the visit at the present timestep.

    cumulant_tm1, v_t: float32 [B, T]. discount_t: float32 [B], 0 where the game ended, else 1.
    gamma: of all tasks, or float32 [T].
    """
    chex.assert_rank([cumulant_tm1, discount_t, v_t], [2, 1, 2])
    chex.assert_equal_shape([cumulant_tm1, v_t])
    chex.assert_equal_shape_prefix([cumulant_tm1, discount_t], 1)
    each = gamma if np.ndim(gamma) == 0 else np.asarray(gamma)[None]
    return cumulant_tm1 + each * discount_t[:, None] * v_t


def regression_loss(q_tm1: jax.Array, a_tm1: jax.Array, target: jax.Array) -> jax.Array:
    """Scalar: mean over B and T of 1/2 (stop_gradient(target) - q(s, a))^2.

    The target is `td_target` or a Monte Carlo return. The loss is a mean over tasks, so the
    gradient of one head shrinks as 1/T. Adam corrects for that only while the gradient is well
    above its epsilon (see `adam_epsilon` in configs/pretrain.py).

    q_tm1: float32 [B, T, A]. a_tm1: int32 [B]. target: float32 [B, T].
    """
    chex.assert_rank([q_tm1, a_tm1, target], [3, 1, 2])
    chex.assert_equal_shape_prefix([q_tm1, target], 2)
    q_a = behaviour_value(q_tm1, a_tm1)
    return 0.5 * jnp.mean(jnp.square(jax.lax.stop_gradient(target) - q_a))
