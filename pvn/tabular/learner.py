"""Trains on an exact MDP with the same step and loop as on Atari; only the batches differ."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pvn.data.sampler import weighted_indices
from pvn.indicators.tasks import Tasks
from pvn.learning.loop import Logged, train
from pvn.learning.objectives import successor_objective
from pvn.learning.parallel import make_parallel
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.learning.train_step import (
    TargetUpdate,
    TrainState,
    init_train_state,
    make_train_step,
)
from pvn.networks.mapping import map_states
from pvn.networks.network import Network
from pvn.networks.proto_value import make_proto_value_network
from pvn.types import Transition


class Triples(NamedTuple):
    """All M triples (s, a, z) of nonzero probability: state, action, next state."""

    state: np.ndarray  # int64 [M]
    action: np.ndarray  # int32 [M]
    next_state: np.ndarray  # int64 [M]
    probability: np.ndarray  # float64 [M], sums to 1


def enumerate_triples(transition: np.ndarray) -> Triples:
    """The triples of an MDP, with uniformly random states and actions. transition: [A, S, S]."""
    action, state, next_state = np.nonzero(transition)
    probability = transition[action, state, next_state]
    return Triples(state, action.astype(np.int32), next_state, probability / probability.sum())


class TabularProblem(NamedTuple):
    """An MDP of S states and A actions with T tasks, as a learner needs it."""

    transition: np.ndarray  # float64 [A, S, S]
    observation: np.ndarray  # [S, ...]: one-hot rows float32, or images uint8 [S, 84, 84, 4]
    tasks: Tasks  # with responses to all states
    discount: float
    returns: np.ndarray | None = None  # float32 [S, T, A], expected Monte Carlo returns; None: TD


def sampled_batch(
    problem: TabularProblem, triples: Triples, seed: int, step: int, batch_size: int
) -> Transition:
    """B transitions drawn from the triples; a pure function of (seed, step)."""
    index = weighted_indices(seed, step, batch_size, triples.probability)
    state, action, next_state = (column[index] for column in triples[:3])
    return _transitions(problem, state, action, problem.observation[next_state])


def expected_batch(problem: TabularProblem) -> Transition:
    """Every state and action once, B = S A. `s_t` is the expected next observation.

    Only for encoders that are linear in the observation. Then the gradient of this batch is the
    expected gradient for uniform s and a.
    """
    num_actions, num_states, _ = problem.transition.shape
    state = np.tile(np.arange(num_states), num_actions)
    action = np.repeat(np.arange(num_actions, dtype=np.int32), num_states)
    next_states = problem.transition.reshape(-1, num_states) @ problem.observation
    return _transitions(problem, state, action, next_states.astype(np.float32))


def _transitions(
    problem: TabularProblem, state: np.ndarray, action: np.ndarray, s_t: np.ndarray
) -> Transition:
    returns, responses = problem.returns, problem.tasks.responses
    assert responses is not None
    return Transition(
        s_tm1=problem.observation[state],
        a_tm1=action,
        discount_t=np.ones(len(state), np.float32),
        s_t=s_t,
        a_t=np.zeros(len(state), np.int32),  # the target policy is uniform
        response_tm1=responses[state],
        return_tm1=None if returns is None else returns[state, :, action],
    )


class _Batches:
    """The batches of a training run: sampled, or always the expected batch."""

    arrays, waited = (), 0.0

    def __init__(self, problem: TabularProblem, num_steps: int, batch_size: int, seed: int):
        self._problem, self._num_steps = problem, num_steps
        self._batch_size, self._seed = batch_size, seed

    def __iter__(self) -> Iterator[Transition]:
        if not self._batch_size:
            return itertools.repeat(jax.device_put(expected_batch(self._problem)), self._num_steps)
        triples = enumerate_triples(self._problem.transition)
        return (
            sampled_batch(self._problem, triples, self._seed, step, self._batch_size)
            for step in range(self._num_steps)
        )


def learn(
    problem: TabularProblem,
    encoder: Network,
    *,
    optimizer: optax.GradientTransformation,
    target_update: TargetUpdate,
    num_steps: int,
    batch_size: int,
    log_every: int,
    seed: int,
) -> Iterator[Logged]:
    """Trains, and yields the train state and metrics every `log_every` steps and after the last.

    The heads have no bias: it would be a constant feature in addition to the F that are compared.
    The tasks' fitted parameters do not change.

    Args:
      problem: the MDP and its tasks.
      encoder: observations to features [B, F].
      optimizer: of the network's parameters.
      target_update: see `make_train_step`.
      num_steps: gradient steps.
      batch_size: B, sampled transitions of a step; 0: `expected_batch`.
      log_every: steps between two yields.
      seed: of the network's parameters and of the batches.

    Raises:
      UserError: the loss or its gradient is not finite.
    """
    tasks = problem.tasks
    indicator = tasks.indicator._replace(loss=None)
    network = make_proto_value_network(
        encoder, indicator.num_tasks, len(problem.transition), use_bias=False
    )
    objective = successor_objective(
        network=network,
        indicator=indicator,
        policy=TARGET_POLICIES["uniform"] if problem.returns is None else None,
        gamma=problem.discount,
    )
    step_once = make_train_step(
        indicator=indicator,
        optimizer=optimizer,
        fitted_optimizer=optax.identity(),
        objective=objective,
        target_update=target_update,
    )
    parallel = make_parallel(jax.devices()[:1])
    run = parallel.compile(lambda state, batch: step_once(state, (), batch))
    params = jax.jit(network.init)(jax.random.key(seed), jnp.asarray(problem.observation[:1]))
    events = train(
        lambda step, state, arrays, batch: run(state, batch),
        init_train_state(objective, params, tasks.fitted, optimizer, optax.identity()),
        _Batches(problem, num_steps, batch_size, seed),
        parallel,
        num_steps=num_steps,
        log_every=log_every,
    )
    return (event for event in events if isinstance(event, Logged))


def features_of(encoder: Network, state: TrainState, observation: np.ndarray) -> np.ndarray:
    """float32 [S, F]: the learned features of all states. observation: [S, ...]."""
    apply = jax.jit(encoder.apply)
    index = np.arange(len(observation))
    params = state.params["encoder"]
    (features,) = map_states(
        lambda states: apply(params, jnp.asarray(states)),
        observation.__getitem__,
        index,
        len(index),
    )
    return features
