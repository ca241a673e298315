"""How much memory a run needs, on each device and for data. Allocates none of it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.buffer import KEPT, Buffer
from pvn.data.sampler import Sampler
from pvn.data.schedule import AHEAD
from pvn.indicators.controllable import MOST_BYTES, num_transitions
from pvn.indicators.packed import packed, response_columns
from pvn.indicators.tasks import RATE_STATES, fit_states
from pvn.learning.diagnostics import PROBE_TRANSITIONS, diagnostics_function
from pvn.learning.feed import Resident, to_transition
from pvn.pretraining.experiment import Experiment, returns_bytes
from pvn.pretraining.training import Optimizers, objective_of, step_function, steps_together
from pvn.types import FrameBatch


class DeviceMemory(NamedTuple):
    """Bytes on each device during a step."""

    state: int
    saved_state: int  # on a CPU, the state that a checkpoint is written from, which must stay
    temporary: float  # of a step or of the diagnostics, whichever needs more; NaN: unknown
    batch: int
    diagnostics: int  # the transitions that they are computed on
    indicator: int  # frozen parameters; 0 if responses are cached
    frames: int  # 0 if they are on the host
    transitions: int  # their columns and responses; 0 if the host draws


class HostMemory(NamedTuple):
    """Bytes of the data in the memory of one process."""

    frames: int  # 0 if they are in device memory
    responses: int  # of the buffered rows
    returns: int  # Monte Carlo
    columns: int
    read_ahead: int  # frames and responses
    batches: int
    candidates: int  # responses, then cumulants of the candidates, before the first step
    threshold_fit: int  # responses that thresholds are fitted to, before the first step


def num_bytes(tree: Any) -> int:
    """Bytes of a tree of arrays or shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def temporary_bytes(
    function: Callable[..., Any], *shapes: Any, donate: tuple[int, ...] = ()
) -> float:
    """Bytes of temporary memory that the compiler plans for a function of these shapes.

    NaN: the compiler does not say, or refuses, as some do if the device has too little memory.

    donate: arguments whose memory the results may use.
    """
    lowered = jax.jit(function, donate_argnums=donate).lower(*shapes)
    try:
        analysis = lowered.compile().memory_analysis()
    except jax.errors.JaxRuntimeError:
        analysis = None
    return float(analysis.temp_size_in_bytes) if analysis else math.nan


def device_memory(
    e: Experiment, optimizers: Optimizers, state: Any, frozen: Any, fitted: Any
) -> DeviceMemory:
    """The memory of each device.

    Compiles a step and the diagnostics, for one device with its share of the batch.

    Args:
      e: the experiment.
      optimizers: of the network and of the thresholds.
      state: the train state, as shapes.
      frozen, fitted: parameters of the tasks, as shapes.
    """
    indicator = packed(e.indicator, fitted) if e.packed else e.indicator
    objective, together = objective_of(e, indicator, None), steps_together(e, 0)
    size, frozen = e.config.batch_size // len(e.devices), () if e.cached else frozen
    batch: Any = _batch(e, (together, size) if together > 1 else (size,), e.on_device)
    arrays: Any = ()
    if e.on_device:
        arrays = jax.ShapeDtypeStruct((_buffer_rows(e), *e.observation.frame), jnp.uint8)
    frame_bytes, transition_bytes = num_bytes(arrays), 0
    if e.device_draws:
        everything = _batch(e, (e.transitions.num_transitions,), on_device=True)
        everything, responses = everything._replace(response_tm1=None), None
        if e.cached:
            columns, dtype = response_columns(e.indicator.num_tasks, e.packed)
            responses = jax.ShapeDtypeStruct((_buffer_rows(e) - 1, columns), dtype)
        transition_bytes = num_bytes((everything, responses))
        seed = jax.ShapeDtypeStruct((2,), jnp.uint32)
        arrays, batch = Resident(arrays, everything, responses, seed), ()
    diagnose = diagnostics_function(objective, e.encoder, indicator)
    drawn = _batch(e, (PROBE_TRANSITIONS,), on_device=False)
    probe = jax.eval_shape(lambda batch: to_transition(e.observation, (), batch), drawn)
    step = step_function(e, indicator, objective, optimizers, None, size, together)
    temporary = np.maximum(  # NaN if one is
        temporary_bytes(step, state, (frozen, arrays), batch, donate=(0,)),
        temporary_bytes(diagnose, state, frozen, probe),
    )
    return DeviceMemory(
        state=num_bytes(state),
        saved_state=num_bytes(state) if e.devices[0].platform == "cpu" else 0,
        temporary=float(temporary),
        batch=num_bytes(batch),
        diagnostics=num_bytes(probe),
        indicator=num_bytes(frozen),
        frames=frame_bytes,
        transitions=transition_bytes,
    )


def host_memory(e: Experiment) -> HostMemory:
    """The memory of a process."""
    schedule, size, rows = e.schedule, e.observation.frame_bytes, _buffer_rows(e)
    gathered = steps_together(e, 0) * _gathered(e) * (e.observation.stack + 1)
    # As `make_schedule` plans: blocks in the queue, one in the reader, one being copied.
    ahead = (AHEAD + 2) * (rows - 1) // schedule.num_buffered if schedule.moves else 0
    return HostMemory(
        frames=0 if e.on_device else rows * size,
        responses=(rows - 1) * e.response_bytes,
        returns=returns_bytes(e.config, e.transitions),
        columns=e.transitions.nbytes,
        read_ahead=ahead * (size + e.response_bytes),
        batches=0 if e.on_device else KEPT * gathered * size,
        candidates=min(4 * choice_states(e) * num_candidates(e), MOST_BYTES),
        # Standardising keeps the cumulants beside the responses.
        threshold_fit=threshold_fit_bytes(e) * (1 + (e.config.cumulants == "standardised")),
    )


def num_candidates(e: Experiment) -> int:
    """C, how many tasks the T are chosen among; 0 if all are taken as drawn."""
    return e.indicator.candidates.tasks.num_tasks if e.indicator.candidates else 0


def choice_states(e: Experiment) -> int:
    """The most states that the candidates are compared on: two for each transition."""
    if not (count := num_candidates(e)):
        return 0
    return min(2 * num_transitions(e.transitions.num_transitions, count), e.transitions.num_rows)


def threshold_fit_bytes(e: Experiment) -> int:
    """Bytes of the responses that thresholds are fitted to."""
    num_tasks = e.indicator.num_tasks
    states = fit_states(e.transitions.num_transitions, num_tasks) if e.cached else RATE_STATES
    return states * 4 * num_tasks


def _gathered(e: Experiment) -> int:
    """Rows of a global batch that this process gathers."""
    here = sum(device.process_index == jax.process_index() for device in e.devices)
    return e.config.batch_size // len(e.devices) * here


def _buffer_rows(e: Experiment) -> int:
    """Rows of this process's buffer of frames, the one of zeros included."""
    sampler, rows = Sampler(e.config.seed, e.config.batch_size), slice(_gathered(e))
    buffer = Buffer(e.transitions, e.schedule, sampler, start=0, rows=rows, on_host=False)
    return buffer.num_rows + 1


def _batch(e: Experiment, shape: tuple[int, ...], on_device: bool) -> FrameBatch:
    """Batches as shapes. shape: (B,), or (U, B) of U steps together."""

    def array(dtype: Any, *more: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*shape, *more), dtype)

    num_tasks, stack = e.indicator.num_tasks, e.observation.stack
    columns, dtype = response_columns(num_tasks, e.packed)
    return FrameBatch(
        frames=None if on_device else array(jnp.uint8, stack + 1, *e.observation.frame),
        places=array(jnp.int32, stack + 1) if on_device else None,
        a_tm1=array(jnp.int32),
        discount_t=array(jnp.float32),
        a_t=array(jnp.int32),
        response_tm1=array(dtype, columns) if e.cached else None,
        return_tm1=array(jnp.float32, num_tasks) if e.config.loss == "monte_carlo" else None,
    )
