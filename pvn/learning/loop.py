"""Training as a generator: it yields what is due, and knows nothing of logging or saving."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax

from pvn.errors import UserError
from pvn.learning.parallel import Parallel
from pvn.learning.train_step import TrainState, mean_metrics, reset_totals


class Batches(Protocol):
    """What training draws from: a `Feed`, or what looks like one."""

    @property
    def arrays(self) -> Any:
        """What the step takes besides a batch."""

    @property
    def waited(self) -> float:
        """Seconds that the consumer has waited."""

    def __iter__(self) -> Iterator[Any]: ...


class Stepped(NamedTuple):
    """A step was made."""

    step: int  # counted from 1


class Logged(NamedTuple):
    """Metrics are due."""

    step: int
    state: TrainState  # on one device
    values: dict[str, float]  # means since the last `Logged`, and speeds


class Due(NamedTuple):
    """A checkpoint is due: by the period, at the end, or because of a stop."""

    step: int
    state: TrainState  # on one device


def train(
    run: Callable[[int, Any, Any, Any], Any],
    state: TrainState,
    batches: Batches,
    parallel: Parallel,
    *,
    num_steps: int,
    log_every: int,
    save_every: int | None = None,
    stop: Callable[[], object] = lambda: False,
) -> Iterator[Stepped | Logged | Due]:
    """Trains from `state` on, and yields after each step what is due.

    A state that is yielded is valid until the next step: that step may take its memory.

    Args:
      run: (step counted from 1, state, arrays, batch) -> state, as `Parallel.compile` makes it.
      state: on one device.
      batches: one for each step that is left, placed on the devices.
      num_steps: of the whole run.
      log_every, save_every: in steps; None: nothing is saved.
      stop: whether to save and end.

    Raises:
      UserError: the loss or its gradient is not finite. Nothing was yielded from that step on.
    """
    start = logged = int(state.step)
    began, waited = time.perf_counter(), batches.waited
    placed = parallel.replicate(state)
    before = placed.step + 0
    for step, batch in enumerate(batches, start + 1):
        placed = run(step, placed, batches.arrays, batch)
        # One step in flight: the next is queued while this one runs, and a stop is prompt.
        # (The state itself may be donated to the next step; `before` is a copy.)
        jax.block_until_ready(before)
        before = placed.step + 0
        yield Stepped(step)
        last, stopping = step == num_steps, bool(stop())
        if step % log_every == 0 or last:
            state = _checked(parallel.unreplicate(placed))
            now = time.perf_counter()
            values = mean_metrics(state) | {
                "steps_per_second": (step - logged) / (now - began),
                "data_wait_share": (batches.waited - waited) / (now - began),
            }
            began, waited, logged = now, batches.waited, step
            yield Logged(step, state, values)
            placed = parallel.replicate(reset_totals(state))
        if save_every is not None and (stopping or last or step % save_every == 0):
            yield Due(step, _checked(parallel.unreplicate(placed)))
        if stopping:
            return


def _checked(state: TrainState) -> TrainState:
    if bad := int(state.first_bad_step):
        raise UserError(
            f"the loss or its gradient is not finite at step {bad}; lower config.learning_rate"
        )
    return state
