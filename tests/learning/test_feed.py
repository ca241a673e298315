"""Batches for the devices, with frames in host and in device memory."""

from typing import Any

import jax
import numpy as np
import pytest

from pvn.data.buffer import Buffer, Write
from pvn.data.layout import Rows
from pvn.data.sampler import Sampler, uniform_indices
from pvn.data.schedule import make_schedule
from pvn.data.transitions import Transitions, find_transitions
from pvn.learning.feed import DeviceFrames, Feed, Resident, draw, take, to_transition
from pvn.learning.parallel import make_parallel
from pvn.types import ATARI, FrameBatch


@pytest.fixture(scope="module")
def transitions() -> Transitions:
    """960 rows in 80 episodes of noise."""
    random = np.random.default_rng(0)
    flags = np.zeros((3, 960), bool)
    flags[0, 11::12] = True  # terminal
    return find_transitions(
        Rows(
            random.integers(0, 256, (960, 84, 84)).astype(np.uint8),
            random.integers(0, 4, 960).astype(np.int32),
            np.zeros(960, np.float32),
            *flags,
            (np.arange(960) // 12).astype(np.int32),
        )
    )


@pytest.mark.parametrize("num_devices", [1, 4])
def test_frames_on_devices_are_an_array_on_the_host(num_devices: int) -> None:
    random = np.random.default_rng(0)
    parallel = make_parallel(jax.devices()[:num_devices])
    device, host = DeviceFrames(parallel, 50, 30, (84, 84)), np.zeros((51, 84, 84), np.uint8)
    for at, count in ((0, 20), (20, 30), (7, 5), (49, 1)):
        frames = random.integers(0, 256, (count, 84, 84)).astype(np.uint8)
        device.write(Write(at, frames, None))
        host[at : at + count] = frames
        np.testing.assert_array_equal(parallel.unreplicate(device.frames), host)
    assert not host[-1].any()  # place -1


def test_a_batch_is_stacked_by_hand() -> None:
    frames = np.arange(1, 11, dtype=np.uint8).reshape(2, 5, 1, 1) * np.ones((84, 84), np.uint8)
    fields = (np.array([3, 1]), np.ones(2), np.array([0, 2]), None, None)
    made = to_transition(ATARI, (), FrameBatch(frames, None, *fields))
    assert made.s_tm1.shape == made.s_t.shape == (2, 84, 84, 4)
    assert made.s_tm1[:, 7, 5].tolist() == [[1, 2, 3, 4], [6, 7, 8, 9]]
    assert made.s_t[:, 7, 5].tolist() == [[2, 3, 4, 5], [7, 8, 9, 10]]
    assert (made.a_tm1.tolist(), made.a_t.tolist()) == ([3, 1], [0, 2])
    # The same with places of frames in a buffer whose last row is zeros.
    held = np.concatenate([frames.reshape(10, 84, 84), np.zeros((1, 84, 84), np.uint8)])
    places = np.array([[-1, -1, 0, 1, 2], [5, 6, 7, 8, -1]], np.int32)
    made = to_transition(ATARI, held, FrameBatch(None, places, *fields))
    assert made.s_tm1[:, 7, 5].tolist() == [[0, 0, 1, 2], [6, 7, 8, 9]]
    assert made.s_t[:, 7, 5].tolist() == [[0, 1, 2, 3], [7, 8, 9, 0]]


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("budget_rows", [None, 700])
def test_a_feed_is_a_plain_gather(
    transitions: Transitions, num_devices: int, on_device: bool, budget_rows: int | None
) -> None:
    parallel = make_parallel(jax.devices()[:num_devices])
    budget = None if budget_rows is None else 7056 * budget_rows + transitions.nbytes
    schedule = make_schedule(
        0, transitions, batch_size=8, row_bytes=7056, budget=budget, memory=2**60, reuse=1.0
    )
    assert schedule.moves == (budget is not None)
    stack = parallel.compile(
        lambda arrays, batch: (arrays, to_transition(ATARI, arrays, batch))[1], donate=False
    )
    with Feed(
        Buffer(transitions, schedule, Sampler(3, 8), start=2, on_host=not on_device),
        parallel, start=2, num_steps=40, on_device=on_device,
    ) as feed:  # fmt: skip
        assert sum(feed.fill()) <= feed.num_rows
        count = 0
        for step, batch in enumerate(feed, 2):
            made = jax.tree.map(
                lambda x: np.reshape(x, (8, *x.shape[1 + (num_devices > 1) :])),
                stack(feed.arrays, batch),
            )
            if not schedule.moves:
                drawn = uniform_indices(3, step, 8, transitions.num_transitions)
                row = transitions.start[drawn]
            else:  # any row, found by its frames
                row = np.array([_row_of(transitions, s) for s in np.asarray(made.s_tm1)])
            expected = to_transition(ATARI, (), transitions.batch(row))
            jax.tree.map(np.testing.assert_array_equal, made, expected)
            count += 1
    assert count == 38
    assert feed.waited > 0


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("on_device", [False, True])
def test_batches_of_several_steps_are_those_of_each(
    transitions: Transitions, num_devices: int, on_device: bool
) -> None:
    parallel = make_parallel(jax.devices()[:num_devices])
    budget = None if on_device else 7056 * 700 + transitions.nbytes
    schedule = make_schedule(
        0, transitions, batch_size=8, row_bytes=7056, budget=budget, memory=2**60, reuse=1.0
    )

    def items(together: int) -> list[Any]:
        buffer = Buffer(
            transitions, schedule, Sampler(3, 8),
            start=2, on_host=not on_device, together=together,
        )  # fmt: skip
        with Feed(buffer, parallel, start=2, num_steps=26, on_device=on_device) as feed:
            list(feed.fill())
            return [jax.tree.map(np.array, batch) for batch in feed]

    single, (first, second) = items(1), items(12)
    axis = int(num_devices > 1)
    expected = jax.tree.map(lambda *parts: np.stack(parts, axis), *single[:12])
    jax.tree.map(np.testing.assert_array_equal, first, expected)
    expected = jax.tree.map(lambda *parts: np.stack(parts, axis), *single[12:])
    jax.tree.map(np.testing.assert_array_equal, second, expected)


@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("cut", [None, 500])  # the first row of a second dataset, or one dataset
def test_a_device_draws_the_batches_of_the_host(
    transitions: Transitions, num_devices: int, cut: int | None
) -> None:
    if cut:
        transitions = find_transitions(transitions.rows, np.array([0, cut, 960]))
    parallel = make_parallel(jax.devices()[:num_devices])
    schedule = make_schedule(
        0, transitions, batch_size=8, row_bytes=7056, budget=None, memory=2**60, reuse=1.0
    )
    responses = np.random.default_rng(1).integers(0, 256, (960, 3), np.uint8)
    buffer = Buffer(
        transitions, schedule, Sampler(3, 8),
        start=2, responses=responses, on_host=False, together=2,
    )  # fmt: skip

    def two_steps(step: jax.Array, data: Resident) -> Any:
        batches = [take(data, draw(data, at, 8, parallel.axis_name)) for at in (step, step + 1)]
        return step, [to_transition(ATARI, data.frames, batch) for batch in batches]

    compiled = parallel.compile(two_steps, donate=False)
    with Feed(buffer, parallel, start=2, num_steps=8, on_device=True, device_draws=True) as feed:
        assert sum(feed.fill()) == feed.num_rows
        for step, batch in zip((2, 4, 6), feed, strict=True):
            assert batch == ()
            _, made = compiled(parallel.replicate(np.int32(step)), feed.arrays)
            for at, one in enumerate(made, step):
                row = transitions.start[uniform_indices(3, at, 8, transitions.num_transitions)]
                expected = to_transition(ATARI, (), transitions.batch(row, responses))
                for x, y in zip(one[:-1], expected[:-1], strict=True):
                    np.testing.assert_array_equal(np.reshape(x, np.shape(y)), y)


def _row_of(transitions: Transitions, state: np.ndarray) -> int:
    (row,) = np.flatnonzero(
        (transitions.rows.frame[:, :2] == state[None, :2, :, -1]).all(axis=(1, 2))
    )
    return int(row)
