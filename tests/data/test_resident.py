"""What is resident, against a plain gather from all of the data."""

import copy
import itertools

import numpy as np
import pytest
from scipy import stats

from pvn.data.prefetch import DEPTH
from pvn.data.resident import BLOCK_ROWS, KEPT, Resident
from pvn.data.sampler import uniform_indices
from pvn.data.schedule import make_schedule
from pvn.data.stack import episode_bounds, gather_windows, transition_rows
from pvn.data.store import Rows

B = 32
RESPONSE = np.array([1.0, -2.0], np.float32)  # times the row


@pytest.fixture(scope="module")
def rows():
    """2,600 rows in episodes of 7 to 60, some of which were cut; a frame spells its row."""
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


def setup(rows, budget_rows, *, split=None, reuse=1.0):
    """(bounds, valid, schedule); split: the row at which a second dataset begins."""
    valid = transition_rows(rows)
    groups = np.searchsorted(valid, [0, 2600] if split is None else [0, split, 2600])
    budget = None if budget_rows is None else 7056 * budget_rows
    schedule = make_schedule(
        5, groups, valid, row_bytes=7056, fixed_bytes=0, budget=budget, memory=2**60, reuse=reuse
    )
    return episode_bounds(rows.episode), valid, schedule


def resident_of(rows, parts, start=0, **changes):
    bounds, valid, schedule = parts
    return Resident(
        rows, bounds, valid, schedule, seed=3, batch_size=B, start=start,
        responses=lambda first, stop: np.arange(first, stop)[:, None] * RESPONSE, **changes,
    )  # fmt: skip


def row_of(window):
    return window.frames[:, 3, 0, 0].astype(int) * 256 + window.frames[:, 3, 0, 1]


def assert_same(window, expected):
    for name, value in expected._asdict().items():
        np.testing.assert_array_equal(getattr(window, name), value, strict=True, err_msg=name)


def expected_at(rows, bounds, index):
    everywhere = np.arange(2600)[:, None] * RESPONSE
    return gather_windows(rows, bounds, index, everywhere)


def test_all_in_memory_is_a_plain_gather_of_uniform_draws(rows):
    bounds, valid, _ = parts = setup(rows, None)
    with resident_of(rows, parts) as resident:
        assert resident.num_ring_rows <= 2600 < 2 * BLOCK_ROWS  # more than one block
        for step in (0, 1, 7, 2**40):
            index = valid[uniform_indices(3, step, B, len(valid))]
            assert_same(resident.batch(step), expected_at(rows, bounds, index))
    with resident_of(rows, parts) as resident:
        loads = list(resident.loads(0))
    assert [len(load.frames) for load in loads] == [BLOCK_ROWS, resident.num_ring_rows - BLOCK_ROWS]
    assert resident.block_rows == BLOCK_ROWS


@pytest.mark.parametrize("split", [None, 400])
def test_a_rotating_part_is_a_plain_gather_of_what_is_resident(rows, split):
    bounds, valid, schedule = parts = setup(rows, 1000, split=split)
    assert schedule.rotates
    assert schedule.num_pieces > 30
    seen = set()
    with resident_of(rows, parts) as resident:
        assert resident.num_ring_rows < 1000
        for step in range(3 * len(valid) // B):
            window = resident.batch(step)
            index = row_of(window)
            assert_same(window, expected_at(rows, bounds, index))
            number = np.searchsorted(valid, index)
            np.testing.assert_array_equal(valid[number], index)
            here = schedule.resident(schedule.position(step, B))
            held = [
                np.any((schedule.bounds[:, here] <= n) & (n < schedule.bounds[:, here + 1]))
                for n in number
            ]
            assert all(held)
            seen |= set(index.tolist())
    assert len(seen) > 0.9 * len(valid)  # 3 draws of each: 5 % are missed


def test_any_step_is_the_same_when_resumed_there(rows):
    parts = setup(rows, 1000)
    with resident_of(rows, parts) as resident:
        batches = [copy.deepcopy(resident.batch(step)) for step in range(90)]
    for start in (1, 40, 89):
        with resident_of(rows, parts, start) as resident:
            for step in range(start, 90):
                assert_same(resident.batch(step), batches[step])


def test_frames_stay_while_a_run_needs_them(rows):
    """What is made ahead, what waits to be put there, and the two steps that are under way."""
    assert KEPT >= DEPTH + 3
    with resident_of(rows, setup(rows, 1000)) as resident:
        frames = [resident.batch(step).frames for step in range(KEPT + 1)]
    pairs = itertools.combinations(frames[:KEPT], 2)
    assert not any(np.shares_memory(*pair) for pair in pairs)
    assert np.shares_memory(frames[0], frames[KEPT])


def test_steps_may_be_left_out(rows):
    parts = setup(rows, 1000)
    with resident_of(rows, parts) as resident:
        later = [resident.batch(step) for step in (3, 80, 5000)]
    for step, window in zip((3, 80, 5000), later, strict=True):
        with resident_of(rows, parts, step) as resident:
            assert_same(resident.batch(step), window)


def counts_of(rows, parts, first_step, num_steps, **changes):
    valid = parts[1]
    counts = np.zeros(2600, int)
    with resident_of(rows, parts, first_step, **changes) as resident:
        for step in range(first_step, first_step + num_steps):
            for _ in resident.loads(step):
                pass
            window = resident.places(step)
            # Places tell the row: the ring is not looked at, and the test is fast.
            np.add.at(counts, window.response[:, 0].astype(int), 1)
    return counts[valid]


@pytest.mark.parametrize("start_pass", [0, 1.37])
def test_each_transition_is_drawn_equally_often_in_a_pass(rows, start_pass):
    parts = setup(rows, 1000, reuse=50)
    schedule = parts[2]
    steps = schedule.num_pieces * schedule.draws_a_position // B
    counts = counts_of(rows, parts, int(start_pass * steps), steps)
    assert counts.sum() == steps * B
    assert counts.mean() == pytest.approx(50, rel=0.01)
    # As uneven as independent draws are, and no more.
    assert stats.chisquare(counts).pvalue > 1e-3
    # Not so over a tenth of a pass: most transitions were not there.
    part = counts_of(rows, parts, 0, steps // 10)
    assert np.mean(part == 0) > 0.4


def test_shares_of_datasets(rows):
    parts = setup(rows, 1000, split=400, reuse=20)
    _, valid, schedule = parts
    steps = schedule.num_pieces * schedule.draws_a_position // B
    counts = counts_of(rows, parts, 0, steps, shares=np.array([0.75, 0.25]))
    first = valid < 400
    assert counts[first].sum() / counts.sum() == pytest.approx(0.75, abs=0.01)
    for part in (counts[first], counts[~first]):
        assert stats.chisquare(part).pvalue > 1e-3


def test_a_corrupt_file_is_told_where_it_is_needed(rows):
    class Broken(Exception):
        pass

    def read(first, stop):
        raise Broken

    bounds, valid, schedule = setup(rows, 1000)
    resident = Resident(
        rows, bounds, valid, schedule, seed=0, batch_size=B, start=0, responses=read
    )
    with pytest.raises(Broken), resident:
        resident.batch(0)
