"""The training generator: what it yields and when; a step is compiled once."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.learning.loop import CheckpointDue, Logged, Stepped, train
from pvn.learning.parallel import Parallel, make_parallel
from pvn.learning.train_step import METRICS, TrainState

BAD = 7.0


class Numbers:
    """Batches of numbers: every row is the number of the step."""

    arrays, waited = (), 0.0

    def __init__(self, parallel: Parallel, first: int, last: int):
        self._parallel, self._steps = parallel, range(first, last + 1)

    def __iter__(self) -> Any:
        for step in self._steps:
            yield self._parallel.split(np.full(4, step, np.float32))


def state_at(step: int) -> TrainState:
    totals = {name: jnp.zeros(()) for name in (*METRICS, "steps", "updates")}
    params, target_params = jnp.zeros(()), jnp.zeros(())  # they must not share memory
    return TrainState(jnp.int32(step), params, target_params, (), (), (), totals, jnp.int32(0))


def step_once(state: TrainState, batch: jax.Array) -> TrainState:
    """Adds the batch's number to loss and parameters. Step BAD counts as not finite."""
    number = jnp.mean(batch)
    totals = dict(state.totals)
    totals["loss"], totals["updates"] = totals["loss"] + number, totals["updates"] + 1
    bad = jnp.where((number == BAD) & (state.first_bad_step == 0), state.step + 1, 0)
    return state._replace(
        step=state.step + 1,
        params=state.params + number,
        totals=totals,
        first_bad_step=jnp.maximum(state.first_bad_step, bad),
    )


def events(start: int, num_steps: int, num_devices: int = 1, **settings: Any) -> Any:
    parallel = make_parallel(jax.devices()[:num_devices])
    compiled = parallel.compile(chex.assert_max_traces(step_once, 1))
    return train(
        lambda step, state, arrays, batch: compiled(state, batch),
        state_at(start),
        Numbers(parallel, start + 1, num_steps),
        parallel,
        num_steps=num_steps,
        **settings,
    )


def brief(event: Any) -> tuple[Any, ...]:
    if isinstance(event, Logged):
        return "logged", event.step, event.values["loss"], float(event.state.params)
    if isinstance(event, CheckpointDue):
        return "due", event.step, float(event.state.totals["updates"])
    assert isinstance(event, Stepped)
    return "stepped", event.step


@pytest.mark.parametrize("num_devices", [1, 2])
def test_what_is_yielded_by_hand(num_devices: int) -> None:
    chex.clear_trace_counter()
    found = [brief(e) for e in events(0, 6, num_devices, log_every=4, save_every=3)]
    assert found == [
        ("stepped", 1), ("stepped", 2), ("stepped", 3), ("due", 3, 3.0),
        ("stepped", 4), ("logged", 4, 2.5, 10.0),  # the mean of 1 .. 4, their sum
        ("stepped", 5), ("stepped", 6), ("logged", 6, 5.5, 21.0), ("due", 6, 0.0),
    ]  # fmt: skip


def test_steps_together() -> None:
    """Two steps are one dispatch, with one batch, whose number stands for both."""
    chex.clear_trace_counter()
    parallel = make_parallel(jax.devices()[:1])
    compiled = parallel.compile(lambda state, batch: step_once(step_once(state, batch), batch))
    dispatched = []

    def run(step: int, state: Any, _: Any, batch: Any) -> Any:
        dispatched.append(step)
        return compiled(state, batch)

    found = train(
        *(run, state_at(2), Numbers(parallel, 1, 3), parallel),
        **{"num_steps": 8, "log_every": 4, "save_every": 6, "together": 2},
    )
    assert [brief(e) for e in found] == [
        ("stepped", 4), ("logged", 4, 1.0, 2.0),
        ("stepped", 6), ("due", 6, 2.0),
        ("stepped", 8), ("logged", 8, 2.5, 12.0), ("due", 8, 0.0),
    ]  # fmt: skip
    assert dispatched == [4, 6, 8]


def test_a_resumed_run_yields_the_same() -> None:
    chex.clear_trace_counter()
    whole = [brief(e) for e in events(0, 6, log_every=3, save_every=6)]
    chex.clear_trace_counter()
    rest = [brief(e) for e in events(3, 6, log_every=3, save_every=6)]
    assert [e[:3] for e in rest] == [e[:3] for e in whole[whole.index(("stepped", 4)) :]]


def test_a_stop_saves_and_ends() -> None:
    chex.clear_trace_counter()
    stop: list[int] = []
    found = []
    for event in events(0, 10, log_every=10, save_every=10, stop=lambda: stop):
        found.append(brief(event))
        if event.step == 4:
            stop.append(1)
    assert found[-2:] == [("stepped", 5), ("due", 5, 5.0)]  # a step was under way


def test_a_checkpoint_is_due_when_time_is_up() -> None:
    chex.clear_trace_counter()
    found = [brief(e)[:2] for e in events(0, 3, log_every=9, save_every=100, save_seconds=0)]
    assert [each for each in found if each[0] == "due"] == [("due", 1), ("due", 2), ("due", 3)]


def test_without_a_period_nothing_is_saved() -> None:
    chex.clear_trace_counter()
    kinds = [brief(e)[0] for e in events(0, 3, log_every=2)]
    assert kinds == ["stepped", "stepped", "logged", "stepped", "logged"]


@pytest.mark.parametrize("save_every", [8, 100])
def test_a_step_that_is_not_finite_is_named_before_anything_is_saved(save_every: int) -> None:
    chex.clear_trace_counter()
    found = []
    with pytest.raises(UserError, match=r"is not finite at step 7; lower config.learning_rate$"):
        for event in events(0, 20, log_every=10, save_every=save_every):
            found.append(brief(event))
    assert {kind for kind, *_ in found} == {"stepped"}


def test_speeds_are_those_since_the_row_before() -> None:
    chex.clear_trace_counter()
    rows = [e.values for e in events(0, 4, log_every=2) if isinstance(e, Logged)]
    for row in rows:
        assert row["steps_per_second"] > 0
        assert row["data_wait_share"] == 0
