"""What a config makes of training: optimisers, objective, first parameters, the compiled step."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from pvn.indicators.discounts import discounts_of_tasks
from pvn.indicators.indicator import Indicator
from pvn.indicators.tasks import Tasks
from pvn.learning.feed import draw, take, to_transition
from pvn.learning.objectives import Objective, inverse_objective, successor_objective
from pvn.learning.optimizers import learning_rate_scale, make_optimizer
from pvn.learning.parallel import Parallel
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.learning.train_step import (
    TrainState,
    average_target,
    make_train_step,
    periodic_target,
)
from pvn.networks.network import Network
from pvn.pretraining.experiment import Experiment

Optimizers = tuple[optax.GradientTransformation, optax.GradientTransformation]

_TOGETHER = 16  # steps of a dispatch on an accelerator, at most


def optimizers_of(c: ml_collections.FrozenConfigDict) -> Optimizers:
    """The optimisers of the network and of the thresholds."""
    scale = learning_rate_scale(c.batch_size, c.learning_rate_batch_exponent)
    return (
        make_optimizer(
            c.optimizer,
            learning_rate=c.learning_rate * scale,
            epsilon=c.adam_epsilon,
            max_gradient_norm=c.max_gradient_norm,
            warmup=c.learning_rate_warmup,
        ),
        make_optimizer(
            "adam",
            learning_rate=c.threshold_learning_rate * scale,
            epsilon=c.adam_epsilon,
            max_gradient_norm=0.0,
        ),
    )


def objective_of(e: Experiment, indicator: Indicator, axis_name: str | None) -> Objective:
    """What the config names.

    Args:
      e: the experiment.
      indicator: of its tasks, as they are prepared.
      axis_name: the axis over which batches are split, or None.
    """
    c = e.config
    if isinstance(e.network, Network):
        return inverse_objective(e.network)
    return successor_objective(
        network=e.network,
        indicator=indicator,
        policy=TARGET_POLICIES[c.target_policy] if c.loss == "td" else None,
        gamma=discounts_of_tasks(c.discount, c.num_tasks),
        shuffled=c.next_states == "shuffled",
        axis_name=axis_name,
    )


def initial_params(e: Experiment, key: jax.Array, tasks: Tasks) -> Any:
    """The network's first parameters.

    With `heads_bias=fixed_point`, a head of a task with mean cumulant m begins at m / (1 - gamma),
    the value of a state from which the task is on as often as on average.
    """
    c = e.config
    params = jax.jit(e.network.init)(key, jnp.zeros((1, *e.input_shape), jnp.uint8))
    if c.heads_bias == "fixed_point":
        mean = tasks.cumulants(tasks.sample).mean(axis=0, dtype=np.float64)
        value = mean / (1 - discounts_of_tasks(c.discount, c.num_tasks, np.float64))
        heads = params["heads"]
        heads["bias"] = jnp.broadcast_to(jnp.float32(value)[None], heads["bias"].shape)
    return params


def steps_together(e: Experiment, start: int) -> int:
    """How many steps of a run from `start` (counted from 0) on are one dispatch to the devices.

    It divides the numbers of steps between rows of metrics, between checkpoints, and of the run. It
    is 1 if frames move through device memory.
    """
    c = e.config
    limit = c.steps_together or (1 if e.devices[0].platform == "cpu" else _TOGETHER)
    if e.on_device and e.schedule.moves:
        return 1
    common = math.gcd(c.log_every, c.checkpoint_every, c.num_steps, c.warmup_steps, start)
    return max(count for count in range(1, limit + 1) if common % count == 0)


def step_function(
    e: Experiment,
    indicator: Indicator,
    objective: Objective,
    optimizers: Optimizers,
    axis_name: str | None,
    batch_size: int,
    together: int = 1,
    warmup: bool = False,
) -> Callable[[TrainState, Any, Any], TrainState]:
    """A pure function: (state, (frozen, arrays), batch) -> state, of a `Feed`'s arrays and batches.

    Args:
      e: the experiment.
      indicator: of the tasks, as they are prepared.
      objective: what the network learns.
      optimizers: of the network and of the thresholds.
      axis_name: the axis over which batches are split, or None.
      batch_size: of all devices on that axis.
      together: steps U of a call, which then gets batches [U, B, ...].
      warmup: whether these are warm-up steps.
    """
    c = e.config
    step = make_train_step(
        objective=objective,
        indicator=indicator,
        optimizer=optimizers[0],
        fitted_optimizer=optimizers[1],
        target_update=(
            average_target(c.target_decay)
            if c.target_update == "average"
            else periodic_target(c.target_period)
        ),
        warmup=warmup,
        axis_name=axis_name,
    )

    def repeat(
        learn: Callable[[TrainState, Any], TrainState], state: TrainState, each: Any
    ) -> TrainState:
        if together == 1:
            return learn(state, each)
        return jax.lax.scan(lambda state, one: (learn(state, one), None), state, each)[0]

    def given(state: TrainState, data: Any, batches: Any) -> TrainState:
        frozen, frames = data
        return repeat(
            lambda state, batch: step(state, frozen, to_transition(e.observation, frames, batch)),
            state,
            batches,
        )

    def drawn(state: TrainState, data: Any, _: Any) -> TrainState:
        frozen, resident = data
        steps = state.step if together == 1 else state.step + jnp.arange(together)
        one = functools.partial(draw, resident, batch_size=batch_size, axis_name=axis_name)
        numbers = one(steps) if together == 1 else jax.vmap(one)(steps)
        return repeat(
            lambda state, number: step(
                state,
                frozen,
                to_transition(e.observation, resident.frames, take(resident, number)),
            ),
            state,
            numbers,
        )

    return drawn if e.device_draws else given


def compile_step(
    e: Experiment,
    indicator: Indicator,
    objective: Objective,
    optimizers: Optimizers,
    parallel: Parallel,
    together: int = 1,
) -> Callable[[int, Any, Any, Any], Any]:
    """A compiled function: (step, state, (frozen, arrays), batch) -> state, see `step_function`.

    Steps are counted from 1; of several together, the last counts. Warm-up steps and training steps
    are two compiled functions.
    """
    warmup, training = (
        parallel.compile(
            step_function(
                *(e, indicator, objective, optimizers, parallel.axis_name),
                batch_size=e.config.batch_size,
                together=together,
                warmup=warmup,
            )
        )
        for warmup in (True, False)
    )
    return lambda step, *inputs: (warmup if step <= e.config.warmup_steps else training)(*inputs)
