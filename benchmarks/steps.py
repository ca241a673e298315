"""The train steps that the benchmarks time, on batches of noise."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.measure import Call
from benchmarks.published import plain, published_indicator, published_network
from pvn.indicators.indicator import Indicator
from pvn.indicators.packed import packed
from pvn.indicators.random_network import RandomNetwork
from pvn.learning import train_step as learning
from pvn.learning.feed import to_transition
from pvn.learning.objectives import successor_objective
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.networks.encoders import make_encoder
from pvn.networks.proto_value import ProtoValueNetwork, make_proto_value_network
from pvn.pretraining.allocation import keep_freed_memory
from pvn.types import ATARI, FrameBatch

NUM_FEATURES, NUM_ACTIONS = 512, 6


def random_batch(batch_size: int, num_tasks: int | None) -> FrameBatch:
    """A batch of noise. num_tasks: of the packed responses in it; None: it has none."""
    random, columns = np.random.default_rng(0), -(-(num_tasks or 0) // 8)
    return FrameBatch(
        frames=random.integers(0, 256, (batch_size, 5, 84, 84), dtype=np.uint8),
        places=None,
        a_tm1=random.integers(NUM_ACTIONS, size=batch_size).astype(np.int32),
        discount_t=np.ones(batch_size, np.float32),
        a_t=random.integers(NUM_ACTIONS, size=batch_size).astype(np.int32),
        response_tm1=None
        if num_tasks is None
        else random.integers(0, 256, (batch_size, columns), dtype=np.uint8),
        return_tm1=None,
    )


class Compiled(NamedTuple):
    """A training step, and what it is called with."""

    run: Any  # (state, frozen, batch) -> state, compiled
    state: learning.TrainState
    frozen: Any
    batch: FrameBatch


def compiled(network: ProtoValueNetwork, indicator: Indicator, batch: FrameBatch) -> Compiled:
    """The training step of these networks."""
    optimizer = optax.adam(3e-4, eps=1e-8)
    objective = successor_objective(
        network=network, indicator=indicator, policy=TARGET_POLICIES["uniform"], gamma=0.95
    )
    step = learning.make_train_step(
        indicator=indicator,
        optimizer=optimizer,
        fitted_optimizer=optimizer,
        objective=objective,
        target_update=learning.average_target(0.99),
    )
    example = jnp.zeros((1, *ATARI.shape), jnp.uint8)
    frozen, fitted = indicator.init(jax.random.key(1), example)
    params = network.init(jax.random.key(0), example)
    state = learning.init_train_state(objective, params, fitted, optimizer, optimizer)
    if batch.response_tm1 is not None:
        frozen = ()
    run = jax.jit(
        lambda state, frozen, batch: step(state, frozen, to_transition(ATARI, (), batch)),
        donate_argnums=0,
    )
    return Compiled(run, state, frozen, batch)


def repeated(step: Compiled) -> Call:
    """A call that makes one training step, each time from the last step's state."""
    state = step.state

    def call() -> object:
        nonlocal state
        state = step.run(state, step.frozen, step.batch)
        return state

    return call


def packed_indicator(num_tasks: int) -> Indicator:
    """Tasks that see the whole screen, with bits as responses. Others cost a step the same."""
    indicator = RandomNetwork(proportion=0.05, tasks_per_network=50).indicator(num_tasks)
    return packed(indicator, np.zeros(num_tasks, np.float32))


def our_step(encoder: str, num_tasks: int, batch_size: int) -> Compiled:
    """The step of pvn with cached responses, the other settings as in `configs/pretrain.py`."""
    network = make_proto_value_network(
        make_encoder(encoder, width=1, num_features=NUM_FEATURES), num_tasks, NUM_ACTIONS
    )
    return compiled(network, packed_indicator(num_tasks), random_batch(batch_size, num_tasks))


def ours(encoder: str, num_tasks: int, batch_size: int) -> Call:
    """Calls of `our_step`, with the memory of `pvn.pretrain`."""
    keep_freed_memory(num_tasks, NUM_FEATURES, batch_size)
    return repeated(our_step(encoder, num_tasks, batch_size))


def published(encoder: str, num_tasks: int, batch_size: int) -> Call:
    """The published step, with the random networks in it."""
    network = published_network(encoder, NUM_FEATURES, num_tasks, NUM_ACTIONS)
    indicator = published_indicator(num_tasks, 0.05)
    return repeated(compiled(plain(network), indicator, random_batch(batch_size, None)))


def all_values(encoder: str, num_tasks: int, batch_size: int) -> Call:
    """The step with heads that compute the values of all actions, with the memory of `ours`."""
    keep_freed_memory(num_tasks, NUM_FEATURES, batch_size)
    network = plain(published_network(encoder, NUM_FEATURES, num_tasks, NUM_ACTIONS))
    step = compiled(network, packed_indicator(num_tasks), random_batch(batch_size, num_tasks))
    return repeated(step)
