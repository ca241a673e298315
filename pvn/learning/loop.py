"""The training loop, a generator: the caller logs and saves what it yields."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax

from pvn.errors import UserError
from pvn.learning.parallel import Parallel
from pvn.learning.train_step import TrainState, mean_metrics, reset_totals


class Batches(Protocol):
    """The batches of a training run: a `Feed`, or an object with the same three members."""

    @property
    def arrays(self) -> Any:
        """The step's other argument besides a batch; it may change with each batch."""

    @property
    def waited(self) -> float:
        """Seconds that the consumer has waited for batches."""

    def __iter__(self) -> Iterator[Any]: ...


class Stepped(NamedTuple):
    """A step was taken."""

    step: int  # counted from 1


class Logged(NamedTuple):
    """Metrics are due."""

    step: int
    state: TrainState  # on one device
    values: dict[str, float]  # mean losses and speeds since the last `Logged`


class CheckpointDue(NamedTuple):
    """A checkpoint is due: after `save_every` steps, at the end, or at a stop."""

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
) -> Iterator[Stepped | Logged | CheckpointDue]:
    """Trains from `state` on. Yields `Stepped` after each step, then what else is due.

    A yielded state is valid until the next step, which may reuse its memory.

    Args:
      run: (step counted from 1, state, arrays, batch) -> state, made by `Parallel.compile`.
      state: on one device.
      batches: one for each remaining step, split by `Parallel.split`.
      parallel: the devices.
      num_steps: of the whole run.
      log_every: steps between two `Logged`.
      save_every: steps between two `CheckpointDue`; None: never.
      stop: called after each step; true to yield a last `CheckpointDue` and end.

    Raises:
      UserError: the loss or its gradient is not finite. Only `Stepped` was yielded for that step
        and the steps after it.
    """
    start = logged = int(state.step)
    began, waited = time.perf_counter(), batches.waited
    placed = parallel.replicate(state)
    before = placed.step + 0
    for step, batch in enumerate(batches, start + 1):
        placed = run(step, placed, batches.arrays, batch)
        # Waits for the step before this one: one step is always under way, and a stop takes effect
        # soon. `before` is a copy, because the state may be donated to the next step.
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
            yield CheckpointDue(step, _checked(parallel.unreplicate(placed)))
        if stopping:
            return


def _checked(state: TrainState) -> TrainState:
    if bad := int(state.first_bad_step):
        raise UserError(
            f"the loss or its gradient is not finite at step {bad}; lower config.learning_rate"
        )
    return state
