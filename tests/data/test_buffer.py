"""Batches from the buffer, compared with a plain gather from all the data."""

import contextlib
import copy
import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from pvn.data.buffer import KEPT, READ_ROWS, Buffer
from pvn.data.layout import Rows
from pvn.data.prefetch import DEPTH
from pvn.data.sampler import Sampler, uniform_indices
from pvn.data.schedule import make_schedule
from pvn.data.transitions import find_transitions
from tests.data.schedules import buffered

B = 32
RESPONSE = np.array([1.0, -2.0], np.float32)  # the response of a row is its number times this


@pytest.fixture(scope="module")
def rows():
    """2,600 rows in episodes of 7 to 60, some of them cut. Two pixels of a frame hold its row."""
    random = np.random.default_rng(0)
    lengths = random.integers(7, 61, 200)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), 2600)]
    lengths = np.append(lengths, 2600 - lengths.sum())
    last = np.cumsum(lengths) - 1
    terminal, cut_start = np.zeros(2600, bool), np.zeros(2600, bool)
    terminal[last] = random.random(len(last)) < 0.7
    cut_start[(last + 1 - lengths)[random.random(len(last)) < 0.3]] = True
    truncated = np.zeros(2600, bool)
    truncated[last] = ~terminal[last]
    frame = np.ones((2600, 84, 84), np.uint8)
    frame[:, 0, 0], frame[:, 0, 1] = np.divmod(np.arange(2600), 256)
    return Rows(
        frame=frame,
        action=random.integers(1, 18, 2600).astype(np.int32),
        reward=np.zeros(2600, np.float32),
        terminal=terminal,
        truncated=truncated,
        cut_start=cut_start,
        episode=np.repeat(np.arange(len(lengths)), lengths).astype(np.int32),
    )


def setup(rows, budget_rows, *, split=None, reuse=1.0, lanes=1):
    """(transitions, schedule). split: the row at which a second dataset begins."""
    starts = [0, 2600] if split is None else [0, split, 2600]
    transitions = find_transitions(rows, np.array(starts))
    budget = None if budget_rows is None else 7056 * budget_rows + transitions.nbytes
    schedule = make_schedule(
        5, transitions, batch_size=B, row_bytes=7056, budget=budget, memory=2**60, reuse=reuse
    )
    if lanes > 1:
        kept = schedule.num_buffered // lanes * lanes
        schedule = schedule._replace(num_buffered=kept, num_lanes=lanes)
    return transitions, schedule


def buffer_of(parts, start=0, shares=None, **changes):
    return Buffer(
        *parts, Sampler(3, B, shares), start=start,
        responses=np.arange(2600)[:, None] * RESPONSE, **changes,
    )  # fmt: skip


def row_of(batch):
    return batch.frames[:, 3, 0, 0].astype(int) * 256 + batch.frames[:, 3, 0, 1]


def assert_same(batch, expected):
    for name, value in expected._asdict().items():
        assert (getattr(batch, name) is None) == (value is None)
        if value is not None:
            np.testing.assert_array_equal(getattr(batch, name), value, strict=True, err_msg=name)


def expected_at(transitions, index):
    everywhere = np.arange(2600)[:, None] * RESPONSE
    return transitions.batch(index, everywhere)


def test_all_in_memory_is_a_plain_gather_of_uniform_draws(rows):
    transitions, _ = parts = setup(rows, None)
    with buffer_of(parts) as buffer:
        assert buffer.num_rows <= 2600 < 2 * READ_ROWS  # read in two parts
        for step in (0, 1, 7, 2**40):
            drawn = uniform_indices(3, step, B, transitions.num_transitions)
            expected = expected_at(transitions, transitions.start[drawn])
            assert_same(buffer.batch(step), expected)
    with buffer_of(parts) as buffer:
        writes = list(buffer.writes(0))
    assert [len(write.frames) for write in writes] == [READ_ROWS, buffer.num_rows - READ_ROWS]
    assert buffer.write_rows == READ_ROWS


@pytest.mark.parametrize("split", [None, 400])
def test_with_a_moving_buffer_it_is_a_plain_gather_of_buffered_rows(rows, split):
    transitions, schedule = parts = setup(rows, 1000, split=split)
    valid = transitions.start
    assert schedule.moves
    assert schedule.num_blocks > 30
    seen = set()
    with buffer_of(parts) as buffer:
        assert buffer.num_rows < 1000
        for step in range(3 * len(valid) // B):
            batch = buffer.batch(step)
            index = row_of(batch)
            assert_same(batch, expected_at(transitions, index))
            number = np.searchsorted(valid, index)
            np.testing.assert_array_equal(valid[number], index)
            here = buffered(schedule, schedule.position(step, B))
            held = [
                np.any((schedule.edges[:, here] <= n) & (n < schedule.edges[:, here + 1]))
                for n in number
            ]
            assert all(held)
            seen |= set(index.tolist())
    assert len(seen) > 0.9 * len(valid)  # each is drawn 3 times on average: 5 % are never drawn


def test_any_step_is_the_same_when_resumed_there(rows):
    parts = setup(rows, 1000)
    with buffer_of(parts) as buffer:
        batches = [copy.deepcopy(buffer.batch(step)) for step in range(90)]
    for start in (1, 40, 89):
        with buffer_of(parts, start) as buffer:
            for step in range(start, 90):
                assert_same(buffer.batch(step), batches[step])


@pytest.mark.parametrize("budget_rows", [None, 1000])
@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes_gather_the_rows_of_the_global_batch(rows, budget_rows, num_processes):
    parts = setup(rows, budget_rows, lanes=1 if budget_rows is None else 4)
    each = B // num_processes
    slices = [slice(i * each, (i + 1) * each) for i in range(num_processes)]
    with contextlib.ExitStack() as stack:
        whole = stack.enter_context(buffer_of(parts))
        shares = [stack.enter_context(buffer_of(parts, rows=part)) for part in slices]
        if budget_rows is not None:  # each keeps its own lanes only
            assert sum(buffer.num_rows for buffer in shares) == whole.num_rows
        for step in range(200):
            batches = [buffer.batch(step) for buffer in shares]
            joined = jax.tree.map(lambda *xs: np.concatenate(xs), *batches)
            assert_same(joined, whole.batch(step))


def test_a_row_draws_from_the_slots_of_its_lane(rows):
    transitions, schedule = parts = setup(rows, 1000, lanes=4)
    with buffer_of(parts) as buffer:
        for step in range(0, 200, 7):
            index = row_of(buffer.batch(step))
            number = np.searchsorted(transitions.start, index)
            block = np.searchsorted(schedule.edges[0], number, side="right") - 1
            position = schedule.position(step, B)
            at = position + (np.argsort(schedule.order)[block] - position) % schedule.num_blocks
            np.testing.assert_array_equal(at % 4, np.arange(B) // (B // 4))


@pytest.mark.parametrize("together", [1, 3])
def test_frames_stay_while_a_run_needs_them(rows, together):
    """Batches in the queue, the one in the thread's hand, and those of two steps under way."""
    assert KEPT >= DEPTH + 3
    parts = setup(rows, 1000)
    with buffer_of(parts, together=together) as buffer, buffer_of(parts) as alone:
        frames = [buffer.batch(call * together).frames for call in range(KEPT + 1)]
        # The memory of the first call holds those of the last one.
        again = [alone.batch(KEPT * together + more).frames for more in range(together)]
        np.testing.assert_array_equal(frames[0], again[0] if together == 1 else again)
    pairs = itertools.combinations(frames[:KEPT], 2)
    assert not any(np.shares_memory(*pair) for pair in pairs)
    assert np.shares_memory(frames[0], frames[KEPT])


def test_steps_may_be_left_out(rows):
    parts = setup(rows, 1000)
    with buffer_of(parts) as buffer:
        later = [buffer.batch(step) for step in (3, 80, 5000)]
    for step, batch in zip((3, 80, 5000), later, strict=True):
        with buffer_of(parts, step) as buffer:
            assert_same(buffer.batch(step), batch)


def counts_of(parts, first_step, num_steps, **changes):
    valid = parts[0].start
    counts = np.zeros(2600, int)
    with buffer_of(parts, first_step, **changes) as buffer:
        for step in range(first_step, first_step + num_steps):
            for _ in buffer.writes(step):
                pass
            # The responses identify the row. The test is fast, because it gathers no frames.
            np.add.at(counts, buffer.places(step).response_tm1[:, 0].astype(int), 1)
    return counts[valid]


@pytest.mark.parametrize(("start_pass", "lanes"), [(0, 1), (1.37, 1), (1.37, 4)])
def test_each_transition_is_drawn_equally_often_in_a_pass(rows, start_pass, lanes):
    parts = setup(rows, 1000, reuse=50, lanes=lanes)
    schedule = parts[1]
    steps = schedule.num_blocks * schedule.draws_per_move // B
    counts = counts_of(parts, int(start_pass * steps), steps)
    assert counts.sum() == steps * B
    assert counts.mean() == pytest.approx(50, rel=0.01)
    # Not less uniform than independent draws.
    assert stats.chisquare(counts).pvalue > 1e-3
    # Over a tenth of a pass many transitions were never buffered.
    part = counts_of(parts, 0, steps // 10)
    assert np.mean(part == 0) > 0.4


def test_shares_of_datasets(rows):
    parts = setup(rows, 1000, split=400, reuse=20)
    valid, schedule = parts[0].start, parts[1]
    steps = schedule.num_blocks * schedule.draws_per_move // B
    counts = counts_of(parts, 0, steps, shares=np.array([0.75, 0.25]))
    first = valid < 400
    assert counts[first].sum() / counts.sum() == pytest.approx(0.75, abs=0.01)
    for part in (counts[first], counts[~first]):
        assert stats.chisquare(part).pvalue > 1e-3


def test_an_error_of_the_reader_is_raised_in_batch(rows):
    class Broken(Exception):
        pass

    class Responses:
        def __getitem__(self, rows):
            raise Broken

    buffer = Buffer(*setup(rows, 1000), Sampler(0, B), start=0, responses=Responses())
    with pytest.raises(Broken), buffer:
        buffer.batch(0)
