"""The training loop, a generator: the caller logs and saves what it yields."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

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
    """Steps were taken, up to this one."""

    step: int  # counted from 1


class Logged(NamedTuple):
    """Metrics are due."""

    step: int
    state: TrainState  # on one device
    values: dict[str, float]  # mean losses and speeds since the last `Logged`


class CheckpointDue(NamedTuple):
    """A checkpoint is due: after `save_every` steps or `save_seconds`, at the end, or at a stop."""

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
    save_seconds: float = math.inf,
    together: int = 1,
    stop: Callable[[], object] = lambda: False,
) -> Iterator[Stepped | Logged | CheckpointDue]:
    """Trains from `state` on. Yields `Stepped` after each dispatch, then what else is due.

    A yielded state is valid until the next step, which may reuse its memory.

    Args:
      run: (last step counted from 1, state, arrays, batch) -> state, made by `Parallel.compile`.
      state: on one device.
      batches: one for each remaining dispatch, split by `Parallel.split`.
      parallel: the devices.
      num_steps: of the whole run.
      log_every: steps between two `Logged`.
      save_every: steps between two `CheckpointDue`; None: never.
      save_seconds: most seconds between two `CheckpointDue`.
      together: steps of a dispatch; it divides `log_every`, `save_every` and the remaining steps.
      stop: called after each dispatch; true to yield a last `CheckpointDue` and end, one dispatch
        later. It is enough that it is true in one process: all processes end after the same step.

    Raises:
      UserError: the loss or its gradient is not finite. Only `Stepped` was yielded for that step
        and the steps after it.
    """
    start = logged = int(state.step)
    began = saved = time.perf_counter()
    waited = batches.waited
    placed = parallel.replicate(state)
    # The answers of `agree` for the two newest dispatches. Reading an answer waits for its steps.
    # The older one is read, so one is always under way; a stop takes effect one later.
    asked = deque([parallel.agree(placed.step, False)])
    for count, batch in enumerate(batches, 1):
        step = start + count * together
        placed = run(step, placed, batches.arrays, batch)
        yield Stepped(step)
        asked.append(parallel.agree(placed.step, bool(stop())))
        stopping, last = int(asked.popleft()) > 0, step == num_steps
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
        late = time.perf_counter() > saved + save_seconds
        if save_every is not None and (stopping or last or late or step % save_every == 0):
            saved = time.perf_counter()
            yield CheckpointDue(step, _checked(parallel.unreplicate(placed)))
        if stopping:
            return


def _checked(state: TrainState) -> TrainState:
    if bad := int(state.first_bad_step):
        raise UserError(
            f"the loss or its gradient is not finite at step {bad}; lower config.learning_rate"
        )
    return state
