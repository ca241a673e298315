"""How large a run is: its parameters, GFLOP, memory, disk and draws. Writes nothing.

Networks and states are traced as shapes, and the step is compiled and not run, so a network of any
size takes seconds and little memory.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.indicators.indicator import shapes_of
from pvn.indicators.tasks import RATE_STATES
from pvn.learning.objectives import Objective
from pvn.learning.train_step import init_train_state
from pvn.networks.network import Network
from pvn.networks.proto_value import ProtoValueNetwork
from pvn.plugins import is_plugin
from pvn.pretraining.experiment import Experiment
from pvn.pretraining.flop import count_flop
from pvn.pretraining.memory import (
    DeviceMemory,
    HostMemory,
    choice_states,
    device_memory,
    host_memory,
    num_bytes,
    threshold_fit_bytes,
)
from pvn.pretraining.training import Optimizers, objective_of, optimizers_of
from pvn.types import ATARI, Transition


class Parameters(NamedTuple):
    """Numbers of parameters that learn."""

    encoder: int
    heads: int


class Flop(NamedTuple):
    """FLOP of a step on each device by `pvn.pretraining.flop`, without optimiser and ReLUs."""

    online: int  # forward and backward pass of the network
    target: int  # forward pass of the target network; 0 without a target network's values
    responses: float  # of the tasks; 0 if they are cached


class Disk(NamedTuple):
    """Bytes of files."""

    checkpoint: int
    checkpoints_kept: int
    responses: int
    threshold_fit: int  # responses that thresholds are fitted to, until the first step
    features: int
    successor: int  # heads and tasks beside the features; 0: not exported


class Draws(NamedTuple):
    """How often a dataset's transitions are drawn."""

    path: str
    transitions: int
    draws: float  # expected number in the whole run


class Sizes(NamedTuple):
    """The sizes of a run."""

    num_steps: int
    num_devices: int
    batch_size: int  # on each device
    num_states: int  # whose responses are computed before the first step
    choice_states: int  # the same, to choose the tasks
    parameters: Parameters
    flop: Flop
    prepare_flop: float  # of all responses before the first step; NaN: cannot be traced
    device: DeviceMemory
    host: HostMemory
    disk: Disk
    datasets: tuple[Draws, ...]


def _observations(rows: int, shape: Sequence[int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((rows, *shape), jnp.uint8)


def num_parameters(tree: Any) -> int:
    """Numbers in a tree of arrays or shapes."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def shapes_of_params(
    network: Network | ProtoValueNetwork, shape: Sequence[int] = ATARI.shape
) -> Any:
    """The parameters of a network of observations of this shape (H, W, C), as shapes."""
    return jax.eval_shape(network.init, jax.random.key(0), _observations(1, shape))


class Step(NamedTuple):
    """A training step with cached responses, as shapes."""

    objective: Objective
    params: Any
    fitted: Any  # of the tasks
    num_tasks: int  # T
    shape: Sequence[int] = ATARI.shape  # (H, W, C) of an observation

    @property
    def target_params(self) -> Any:
        """What the target network keeps."""
        return jax.eval_shape(self.objective.keep, self.params)

    def inputs(self, batch_size: int) -> tuple[Any, Any, Any]:
        """Responses, targets and transitions of a batch."""
        states = _observations(batch_size, self.shape)
        action = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        discount = jax.ShapeDtypeStruct((batch_size,), jnp.float32)
        response = jax.ShapeDtypeStruct((batch_size, self.num_tasks), jnp.float32)
        batch = Transition(states, action, discount, states, action, response, response)
        targets = jax.eval_shape(
            self.objective.target, self.target_params, self.fitted, response, batch
        )
        return response, targets, batch


def step_flop(step: Step, batch_size: int) -> Flop:
    """FLOP of a step of B transitions. A cross-entropy does not count."""
    response, targets, batch = step.inputs(batch_size)
    learn = jax.value_and_grad(step.objective.loss, has_aux=True)
    online = count_flop(learn, step.params, targets, batch)
    target = count_flop(step.objective.target, step.target_params, step.fitted, response, batch)
    return Flop(online, target, 0)


def state_shapes(step: Step, optimizers: Optimizers) -> Any:
    """The train state, as shapes."""
    return jax.eval_shape(
        lambda p, f: init_train_state(step.objective, p, f, *optimizers), step.params, step.fitted
    )


def _flop_of_state(e: Experiment, frozen: Any) -> float:
    """FLOP of the response to one state; NaN for a user's own that JAX cannot trace."""
    try:
        return count_flop(e.indicator.response, frozen, e.example)
    except UserError:
        return math.nan


def size_run(e: Experiment) -> Sizes:
    """The sizes of a run. Compiles a step, to know what memory it takes."""
    c, num_devices = e.config, len(e.devices)
    cached, has_tasks = e.cached, e.indicator.num_tasks > 0
    batch_size = c.batch_size // num_devices
    params = shapes_of_params(e.network, e.input_shape)
    frozen, fitted = shapes_of(e.indicator, e.example, own=is_plugin(e.config.indicator))
    objective, optimizers = objective_of(e, e.indicator, None), optimizers_of(c)
    step = Step(objective, params, fitted, e.indicator.num_tasks, e.observation.shape)
    state = state_shapes(step, optimizers)
    num_states = e.transitions.num_rows if cached else RATE_STATES * has_tasks
    chosen_on = choice_states(e)
    flop_of_state = _flop_of_state(e, frozen)
    flop = step_flop(step, batch_size)
    if not cached:
        flop = flop._replace(responses=batch_size * flop_of_state)
    return Sizes(
        num_steps=c.num_steps,
        num_devices=num_devices,
        batch_size=batch_size,
        num_states=num_states,
        choice_states=chosen_on,
        parameters=Parameters(num_parameters(params["encoder"]), num_parameters(params["heads"])),
        flop=flop,
        prepare_flop=(num_states + chosen_on) * flop_of_state,
        device=device_memory(e, optimizers, state, frozen, fitted),
        host=host_memory(e),
        disk=Disk(
            checkpoint=num_bytes(state),
            checkpoints_kept=num_bytes(state) * c.keep_checkpoints,
            responses=num_states * e.response_bytes,
            threshold_fit=threshold_fit_bytes(e) if e.packed else 0,
            features=num_bytes(params["encoder"]),
            successor=num_bytes((params["heads"], frozen, fitted)) if e.exports_successor else 0,
        ),
        datasets=_draws(e),
    )


def _draws(e: Experiment) -> tuple[Draws, ...]:
    c, counts = e.config, np.diff(e.transitions.groups)
    weights = np.array(c.dataset_weights or counts, np.float64)
    drawn = c.num_steps * c.batch_size * weights / weights.sum()
    paths = e.dataset.paths
    return tuple(map(Draws, paths, counts.tolist(), drawn.tolist()))


def format_sizes(s: Sizes) -> str:
    """A table for people: a line for each number, with its unit. Parts of 0 bytes are left out."""

    def number(value: float, scale: float = 1) -> str:
        return "unknown" if math.isnan(value) else f"{value / scale:,.3f}"

    def bytes_of(sizes: Any) -> list[tuple[str, str, str]]:
        return [
            (name.replace("_", " "), number(value, 2**30), "GiB")
            for name, value in sizes._asdict().items()
            if value
        ]

    prepared = s.num_states + s.choice_states
    parts: dict[str, list[tuple[str, str, str]]] = {
        "parameters": [(name, f"{n:,}", "") for name, n in s.parameters._asdict().items()],
        f"a step of {s.batch_size:,} transitions on each device; devices: {s.num_devices}": [
            ("network, forward and backward", number(s.flop.online, 1e9), "GFLOP"),
            ("target network, forward", number(s.flop.target, 1e9), "GFLOP"),
            ("responses", number(s.flop.responses, 1e9), "GFLOP"),
            ("all", number(sum(s.flop), 1e9), "GFLOP"),
        ],
        "the run": [
            ("steps", f"{s.num_steps:,}", ""),
            ("all steps, on each device", number(s.num_steps * sum(s.flop), 1e12), "TFLOP"),
            (f"responses of {prepared:,} states, once", number(s.prepare_flop, 1e12), "TFLOP"),
        ],
        "memory of each device": [
            *bytes_of(s.device),
            ("all", number(sum(s.device), 2**30), "GiB"),
        ],
        "memory of a process, for data": bytes_of(s.host),
        "disk": bytes_of(s.disk),
    }
    for each in s.datasets:
        parts[f"dataset {each.path}"] = [
            ("transitions", f"{each.transitions:,}", ""),
            ("draws", f"{each.draws:,.0f}", ""),
            ("draws of each transition", number(each.draws / each.transitions), ""),
        ]
    rows = [row for part in parts.values() for row in part]
    left, middle = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = []
    for title, part in parts.items():
        lines.append(title)
        lines += [f"  {a:<{left}}  {b:>{middle}} {c}".rstrip() for a, b, c in part]
    return "\n".join(lines)
