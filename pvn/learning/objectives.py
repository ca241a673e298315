"""What pretraining minimises: successor measures by TD, or inverse dynamics as a baseline."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pvn.indicators.indicator import Indicator
from pvn.learning.losses import regression_loss, td_target
from pvn.learning.target_policies import TargetPolicy
from pvn.networks.network import Network, Params
from pvn.networks.proto_value import ProtoValueNetwork
from pvn.types import Transition


class Objective(NamedTuple):
    """A loss over the network's parameters, its targets, and what says how well it is met."""

    keep: Callable[[Params], Params]
    """parameters -> what the target network keeps of them, which are the target parameters."""

    target: Callable[[Params, Params, jax.Array, Transition], jax.Array]
    """target parameters, the indicator's fitted ones, response [B, ...], transitions -> targets
    [B, ...]; no gradient flows through them."""

    loss: Callable[[Params, jax.Array, Transition], tuple[jax.Array, jax.Array]]
    """parameters, targets, transitions -> (loss, mean of the network's outputs)."""

    scores: Callable[[Params, Params, jax.Array, jax.Array, Transition], dict[str, jax.Array]]
    """parameters, fitted, response, targets, transitions -> metrics of these transitions."""


def _next_in_batch(x: jax.Array, axis_name: str | None) -> jax.Array:
    """Row i becomes row i + 1 of the global batch, and the last the first."""
    first = x[:1]
    if axis_name is not None:
        size = jax.lax.axis_size(axis_name)
        first = jax.lax.ppermute(first, axis_name, [((i + 1) % size, i) for i in range(size)])
    return jnp.concatenate([x[1:], first])


def successor_objective(
    *,
    network: ProtoValueNetwork,
    indicator: Indicator,
    policy: TargetPolicy | None,
    gamma: float | np.ndarray,
    shuffled: bool = False,
    axis_name: str | None = None,
) -> Objective:
    """The successor measure of T tasks (Farebrother et al. 2023, section 3).

    The targets are TD targets, or the batch's Monte Carlo returns. `scores` is
    `explained_variance`: the mean of 1 - Var(target - q) / Var(target) over the tasks whose
    cumulants vary on the transitions. It is NaN if no task varies.

    Args:
      network: of values [B, T, A].
      indicator: of the T tasks.
      policy: the target policy, one of TARGET_POLICIES; None: the batches hold returns.
      gamma: discount, of all tasks or float32 [T].
      shuffled: a control: the next state of each transition, or the end of its game, is that of
        another one in the batch. So the targets hold nothing about what follows a state.
      axis_name: the axis over which the batch is split; None on one device.
    """

    def target(
        target_params: Params, fitted: Params, response: jax.Array, batch: Transition
    ) -> jax.Array:
        chex.assert_rank(response, 2)
        if policy is None:
            assert batch.return_tm1 is not None
            return batch.return_tm1
        v_t = policy.value(network, target_params, batch.s_t, batch.a_t)
        discount_t = batch.discount_t
        if shuffled:
            v_t, discount_t = (_next_in_batch(x, axis_name) for x in (v_t, discount_t))
        return td_target(indicator.cumulant(fitted, response), discount_t, v_t, gamma)

    def loss(params: Params, targets: jax.Array, batch: Transition) -> tuple[jax.Array, jax.Array]:
        q_tm1 = network.action_values(params, batch.s_tm1, batch.a_tm1)
        return regression_loss(q_tm1, targets), jnp.mean(q_tm1)

    def scores(
        params: Params,
        fitted: Params,
        response: jax.Array,
        targets: jax.Array,
        batch: Transition,
    ) -> dict[str, jax.Array]:
        q = network.action_values(params, batch.s_tm1, batch.a_tm1)
        varies = jnp.ptp(indicator.cumulant(fitted, response), axis=0) > 0
        variance = jnp.maximum(jnp.var(targets, axis=0), 1e-12)
        explained = 1 - jnp.var(targets - q, axis=0) / variance
        return {"explained_variance": jnp.mean(explained, where=varies)}

    return Objective(
        lambda params: {} if policy is None else policy.keep(network, params), target, loss, scores
    )


def inverse_objective(network: Network) -> Objective:
    """Which action led from a state to the next (Pathak et al. 2017). A standard baseline.

    The loss is the cross-entropy, summed over the transitions that have a next state (that did not
    end the game) and divided by B. `scores` is `action_accuracy` over the same transitions.

    network: pairs of observations uint8 [B, 2, H, W, C] to logits [B, A].
    """

    def target(
        target_params: Params, fitted: Params, response: jax.Array, batch: Transition
    ) -> jax.Array:
        return batch.a_tm1

    def logits(params: Params, batch: Transition) -> jax.Array:
        return network.apply(params, jnp.stack([batch.s_tm1, batch.s_t], axis=1))

    def loss(params: Params, targets: jax.Array, batch: Transition) -> tuple[jax.Array, jax.Array]:
        out = logits(params, batch)
        each = optax.softmax_cross_entropy_with_integer_labels(out, targets)
        return jnp.mean(each * batch.discount_t), jnp.mean(out)

    def scores(
        params: Params,
        fitted: Params,
        response: jax.Array,
        targets: jax.Array,
        batch: Transition,
    ) -> dict[str, jax.Array]:
        right = jnp.argmax(logits(params, batch), axis=1) == targets
        return {"action_accuracy": jnp.mean(right, where=batch.discount_t > 0)}

    return Objective(lambda params: {}, target, loss, scores)
