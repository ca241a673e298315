"""The loss and its targets for successor measures (Farebrother et al. 2023, section 3)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np


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


def regression_loss(q_tm1: jax.Array, target: jax.Array) -> jax.Array:
    """Scalar: mean over B and T of 1/2 (stop_gradient(target) - q(s, a))^2.

    The target is `td_target` or a Monte Carlo return. The loss is a mean over tasks, so the
    gradient of one head shrinks as 1/T. Adam corrects for that only while the gradient is well
    above its epsilon (see `adam_epsilon` in configs/pretrain.py).

    q_tm1: float32 [B, T], values of the actions taken. target: float32 [B, T].
    """
    chex.assert_rank([q_tm1, target], 2)
    chex.assert_equal_shape([q_tm1, target])
    return 0.5 * jnp.mean(jnp.square(jax.lax.stop_gradient(target) - q_tm1))
