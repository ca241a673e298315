"""How large a run is: its parameters, GFLOP, memory, disk and draws. Allocates and writes nothing.

Networks and states are traced as shapes, so a network of any size takes seconds and no memory.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pvn.data.buffer import KEPT, Buffer
from pvn.data.prefetch import DEPTH
from pvn.data.sampler import Sampler
from pvn.data.schedule import AHEAD
from pvn.errors import UserError
from pvn.experiment import Experiment, shapes_of_tasks
from pvn.flop import count_flop
from pvn.indicators.tasks import RATE_STATES, fit_states
from pvn.learning.objectives import Objective
from pvn.learning.train_step import init_train_state
from pvn.networks.network import Network
from pvn.networks.proto_value import ProtoValueNetwork
from pvn.training import steps_together
from pvn.types import ATARI, Transition

Optimizers = tuple[optax.GradientTransformation, optax.GradientTransformation]


class Parameters(NamedTuple):
    """Numbers of parameters that learn."""

    encoder: int
    heads: int


class Flop(NamedTuple):
    """FLOP of a step on each device, as `pvn.flop` counts them (no optimiser, no relus)."""

    online: int  # forward and backward pass of the network
    target: int  # forward pass of the target network; 0 without a target network's values
    responses: float  # of the tasks; 0 if they are cached


class DeviceMemory(NamedTuple):
    """Bytes on each device during a step."""

    state: int
    saved_state: int  # on a CPU, the state that a checkpoint is written from, which must stay
    gradient: int
    activations: int  # that the forward pass keeps for the backward pass; an estimate
    batch: int
    indicator: int  # frozen parameters; 0 if responses are cached
    frames: int  # 0 if they are on the host


class HostMemory(NamedTuple):
    """Bytes of the data in the memory of one process."""

    frames: int  # 0 if they are in device memory
    responses: int  # of the buffered rows
    returns: int  # Monte Carlo
    columns: int
    read_ahead: int  # frames and responses
    batches: int
    threshold_fit: int  # responses that thresholds are fitted to, before the first step


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
    parameters: Parameters
    flop: Flop
    prepare_flop: float  # of all responses before the first step; NaN: cannot be traced
    device: DeviceMemory
    host: HostMemory
    disk: Disk
    datasets: tuple[Draws, ...]


def _observations(rows: int, shape: Sequence[int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((rows, *shape), jnp.uint8)


def num_bytes(tree: Any) -> int:
    """Bytes of a tree of arrays or shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


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


def activation_bytes(step: Step, batch_size: int) -> int:
    """Bytes that JAX keeps from the forward pass for the backward pass. XLA may need more or less.

    It is an estimate of a step's temporary memory. The bytes of one row are the difference between
    two rows and one, so that what all rows share (the parameters) does not count.
    """

    def kept(rows: int) -> int:
        _, targets, batch = step.inputs(rows)
        residuals = jax.eval_shape(
            lambda p, t, b: jax.vjp(lambda q: step.objective.loss(q, t, b)[0], p)[1],
            *(step.params, targets, batch),
        )
        return num_bytes(residuals)

    return batch_size * (kept(2) - kept(1))


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


def size_run(e: Experiment, objective: Objective, optimizers: Optimizers) -> Sizes:
    """The sizes of a run.

    Args:
      e: the experiment.
      objective: of the experiment, on one device.
      optimizers: of the network and of the thresholds.
    """
    c, num_devices = e.config, len(e.devices)
    cached, has_tasks = e.cached, e.indicator.num_tasks > 0
    batch_size = c.batch_size // num_devices
    params = shapes_of_params(e.network, e.input_shape)
    frozen, fitted = shapes_of_tasks(e.config.indicator, e.indicator, e.example)
    step = Step(objective, params, fitted, e.indicator.num_tasks, e.observation.shape)
    state = num_bytes(state_shapes(step, optimizers))
    num_states = e.transitions.num_rows if cached else RATE_STATES * has_tasks
    flop_of_state = _flop_of_state(e, frozen)
    flop = step_flop(step, batch_size)
    if not cached:
        flop = flop._replace(responses=batch_size * flop_of_state)
    return Sizes(
        num_steps=c.num_steps,
        num_devices=num_devices,
        batch_size=batch_size,
        num_states=num_states,
        parameters=Parameters(num_parameters(params["encoder"]), num_parameters(params["heads"])),
        flop=flop,
        prepare_flop=num_states * flop_of_state,
        device=_device_memory(e, step, batch_size, state, num_bytes(frozen)),
        host=_host_memory(e),
        disk=Disk(
            checkpoint=state,
            checkpoints_kept=state * c.keep_checkpoints,
            responses=num_states * e.response_bytes,
            threshold_fit=_threshold_fit(e) if e.packed else 0,
            features=num_bytes(params["encoder"]),
            successor=num_bytes((params["heads"], frozen, fitted)) * c.export_successor * has_tasks,
        ),
        datasets=_draws(e),
    )


def _gathered(e: Experiment) -> int:
    """Rows of a global batch that this process gathers."""
    here = sum(device.process_index == jax.process_index() for device in e.devices)
    return e.config.batch_size // len(e.devices) * here


def _buffer_rows(e: Experiment) -> int:
    """Rows of this process's buffer of frames, the one of zeros included."""
    sampler, rows = Sampler(e.config.seed, e.config.batch_size), slice(_gathered(e))
    buffer = Buffer(e.transitions, e.schedule, sampler, start=0, rows=rows, on_host=False)
    return buffer.num_rows + 1


def _device_memory(
    e: Experiment, step: Step, batch_size: int, state: int, frozen: int
) -> DeviceMemory:
    c, stack, size = e.config, e.observation.stack, e.observation.frame_bytes
    on_device, cached = e.on_device, e.cached
    columns = 3 * 4  # actions, discount
    columns += e.response_bytes + 4 * e.indicator.num_tasks * (c.loss == "monte_carlo")
    # The frames or their places; and the two observations that a step makes of them.
    together = steps_together(e, 0)
    columns = together * (columns + (stack + 1) * (4 if on_device else size))
    return DeviceMemory(
        state=state,
        saved_state=state if e.devices[0].platform == "cpu" else 0,
        gradient=num_bytes(step.params),
        activations=activation_bytes(step, batch_size),
        batch=batch_size * (columns + 2 * stack * size),
        indicator=0 if cached else frozen,
        frames=_buffer_rows(e) * size if on_device else 0,
    )


def _threshold_fit(e: Experiment) -> int:
    """Bytes of the responses that thresholds are fitted to."""
    num_tasks = e.indicator.num_tasks
    states = fit_states(e.transitions.num_transitions, num_tasks) if e.cached else RATE_STATES
    return states * 4 * num_tasks


def _host_memory(e: Experiment) -> HostMemory:
    c, schedule, size = e.config, e.schedule, e.observation.frame_bytes
    on_host, num_tasks = not e.on_device, e.indicator.num_tasks
    rows, together = _buffer_rows(e), steps_together(e, 0)
    # Several steps together are copies in the queue, in the thread and with the consumer.
    kept = KEPT + (DEPTH + 2) * together * (together > 1)
    # As `make_schedule` plans: blocks in the queue, one in the reader, one being copied.
    ahead = (AHEAD + 2) * (rows - 1) // schedule.num_buffered if schedule.moves else 0
    return HostMemory(
        frames=rows * size if on_host else 0,
        responses=(rows - 1) * e.response_bytes,
        returns=e.transitions.num_rows * 4 * num_tasks if c.loss == "monte_carlo" else 0,
        columns=e.transitions.nbytes,
        read_ahead=ahead * (size + e.response_bytes),
        batches=kept * _gathered(e) * (e.observation.stack + 1) * size if on_host else 0,
        threshold_fit=_threshold_fit(e),
    )


def _draws(e: Experiment) -> tuple[Draws, ...]:
    c, counts = e.config, np.diff(e.transitions.groups)
    weights = np.array(c.dataset_weights or counts, np.float64)
    drawn = c.num_steps * c.batch_size * weights / weights.sum()
    paths = e.dataset.paths
    return tuple(map(Draws, paths, counts.tolist(), drawn.tolist()))


def format_sizes(s: Sizes) -> str:
    """A table for people: a line for each number, with its unit. Parts of 0 bytes are left out."""

    def bytes_of(sizes: Any) -> list[tuple[str, str, str]]:
        return [
            (name.replace("_", " "), f"{value / 2**30:,.3f}", "GiB")
            for name, value in sizes._asdict().items()
            if value
        ]

    def number(value: float, scale: float = 1) -> str:
        return "unknown" if math.isnan(value) else f"{value / scale:,.3f}"

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
            (f"responses of {s.num_states:,} states, once", number(s.prepare_flop, 1e12), "TFLOP"),
        ],
        "memory of each device": [
            *bytes_of(s.device),
            ("all", f"{sum(s.device) / 2**30:,.3f}", "GiB"),
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
