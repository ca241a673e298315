"""The policy whose value the target is from the next state on."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from pvn.networks.network import Params
from pvn.networks.proto_value import ProtoValueNetwork


class TargetPolicy(NamedTuple):
    """What a target network keeps for a policy, and the policy's values from that."""

    keep: Callable[[ProtoValueNetwork, Params], Params]
    """(network, its parameters) -> what the target network keeps of them; linear."""

    value: Callable[[ProtoValueNetwork, Params, jax.Array, jax.Array], jax.Array]
    """(network, kept parameters, s_t [B, ...], a_t int32 [B]) -> values of s_t, float32 [B, T].

    a_t: the action that the behaviour policy took in s_t."""


TARGET_POLICIES = {
    # The published one: the mean over actions, whose heads are the means of the heads.
    "uniform": TargetPolicy(
        keep=lambda network, params: network.mean_over_actions(params),
        value=lambda network, kept, s_t, a_t: network.mean_values(kept, s_t),
    ),
    # SARSA: the action that the behaviour policy took.
    "behaviour": TargetPolicy(
        keep=lambda network, params: params,
        value=lambda network, kept, s_t, a_t: network.action_values(kept, s_t, a_t),
    ),
    # Q-learning: each task's own best action (as the auxiliary control tasks of Jaderberg et al.
    # 2017).
    "greedy": TargetPolicy(
        keep=lambda network, params: params,
        value=lambda network, kept, s_t, a_t: network.max_values(kept, s_t),
    ),
}
