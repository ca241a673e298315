"""Trains on an exact MDP, by the very step that trains on Atari; only batches are made here."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pvn.data.sampler import weighted_indices
from pvn.errors import UserError
from pvn.indicators.indicator import Indicator, Params
from pvn.learning.losses import uniform_policy_value
from pvn.learning.train_step import (
    TargetUpdate,
    TrainState,
    init_train_state,
    make_train_step,
    reset_totals,
)
from pvn.networks.network import Network
from pvn.networks.proto_value import make_proto_value_network
from pvn.types import Transition


class Triples(NamedTuple):
    """All (s, a, z) that can happen, M of them, and how often they do."""

    state: np.ndarray  # int64 [M]
    action: np.ndarray  # int32 [M]
    next_state: np.ndarray  # int64 [M]
    probability: np.ndarray  # float64 [M], sums to 1


def enumerate_triples(
    transition: np.ndarray, state_distribution: np.ndarray | None = None
) -> Triples:
    """The triples of transition [A, S, S], a uniformly random and s from a distribution [S].

    state_distribution: None for uniform.
    """
    num_actions, num_states, _ = transition.shape
    if state_distribution is None:
        state_distribution = np.full(num_states, 1 / num_states)
    joint = transition * state_distribution[None, :, None] / num_actions
    action, state, next_state = np.nonzero(joint)
    probability = joint[action, state, next_state]
    return Triples(state, action.astype(np.int32), next_state, probability / probability.sum())


class Environment(NamedTuple):
    """What a learner sees of an MDP of S states and A actions with T tasks."""

    transition: np.ndarray  # float64 [A, S, S]
    observation: np.ndarray  # [S, ...], of each state: one-hot rows, or uint8 [S, 84, 84, 4]
    response: np.ndarray  # float32 [S, T], the indicator's to each state
    returns: np.ndarray | None = None  # float32 [S, T, A], expected Monte Carlo returns, None: TD


def sampled_batch(
    environment: Environment, triples: Triples, seed: int, step: int, batch_size: int
) -> Transition:
    """B transitions drawn from the triples, a pure function of (seed, step)."""
    index = weighted_indices(seed, step, batch_size, triples.probability)
    state, action, next_state = (column[index] for column in triples[:3])
    return _transitions(environment, state, action, environment.observation[next_state])


def expected_batch(environment: Environment) -> Transition:
    """Every state and action once, B = S A, next states in expectation.

    For encoders that are linear in the observation: then the gradient of this batch is the
    expected gradient, s and a uniform, without noise.
    """
    num_actions, num_states, _ = environment.transition.shape
    state = np.tile(np.arange(num_states), num_actions)
    action = np.repeat(np.arange(num_actions, dtype=np.int32), num_states)
    next_states = environment.transition.reshape(-1, num_states) @ environment.observation
    return _transitions(environment, state, action, next_states.astype(np.float32))


def _transitions(
    environment: Environment, state: np.ndarray, action: np.ndarray, s_t: np.ndarray
) -> Transition:
    returns = environment.returns
    return Transition(
        s_tm1=environment.observation[state],
        a_tm1=action,
        discount_t=np.ones(len(state), np.float32),
        s_t=s_t,
        a_t=np.zeros(len(state), np.int32),  # the target policy is uniform
        response_tm1=environment.response[state],
        return_tm1=None if returns is None else returns[state, :, action],
    )


def learn(
    environment: Environment,
    encoder: Network,
    indicator: Indicator,
    fitted: Params,
    *,
    optimizer: optax.GradientTransformation,
    target_update: TargetUpdate,
    gamma: float,
    num_steps: int,
    batch_size: int,
    log_every: int,
    seed: int,
) -> Iterator[TrainState]:
    """Yields the state of training every `log_every` steps and after the last.

    Heads have no bias: a bias is a constant feature besides the F that are compared.

    Args:
      fitted: the indicator's fitted parameters; they stay as they are.
      batch_size: B sampled transitions a step; 0 for `expected_batch`.
      seed: of the network's parameters and of the batches.

    Raises:
      UserError: the loss or its gradient is not finite.
    """
    num_actions = len(environment.transition)
    num_tasks = environment.response.shape[1]
    network = make_proto_value_network(encoder, num_tasks, num_actions, use_bias=False)
    step_once = jax.jit(
        make_train_step(
            network=network,
            indicator=indicator._replace(loss=None),
            optimizer=optimizer,
            fitted_optimizer=optax.identity(),
            next_value=uniform_policy_value,
            target_update=target_update,
            gamma=gamma,
        )
    )
    triples = enumerate_triples(environment.transition)
    whole = None if batch_size else jax.device_put(expected_batch(environment))
    params = jax.jit(network.init)(jax.random.key(seed), jnp.asarray(environment.observation[:1]))
    state = init_train_state(params, fitted, optimizer, optax.identity())
    for step in range(num_steps):
        batch = whole or sampled_batch(environment, triples, seed, step, batch_size)
        state = step_once(state, (), batch)
        if (step + 1) % log_every == 0 or step + 1 == num_steps:
            if bad := int(state.first_bad_step):
                raise UserError(
                    f"the loss or its gradient is not finite at step {bad}; lower "
                    "config.learning_rate"
                )
            yield state
            state = reset_totals(state)


def features_of(encoder: Network, state: TrainState, observation: np.ndarray) -> np.ndarray:
    """float32 [S, F]: the features that the encoder has learned, of each state's observation."""
    return np.asarray(jax.jit(encoder.apply)(state.params["encoder"], observation))
