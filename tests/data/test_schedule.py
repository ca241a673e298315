import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data.layout import Rows
from pvn.data.schedule import AHEAD, BLOCK, LANES, block_rows, make_schedule
from pvn.data.transitions import Transitions
from pvn.errors import UserError
from tests.data.schedules import buffered

GIB = 2**30


def transitions_of(sizes, fixed_bytes=0):
    """Datasets of these numbers of transitions, one at each row, with columns of `fixed_bytes`."""
    groups = np.cumsum([0, *sizes])
    none = np.zeros(0, np.uint8)
    start = np.arange(groups[-1])
    columns = np.broadcast_to(np.uint8(0), fixed_bytes)
    rows = Rows(np.zeros((0, 84, 84), np.uint8), columns, none, none, none, none, none)
    return Transitions(rows, none, none, start, groups)


def schedule_of(
    sizes,
    budget,
    *,
    row_bytes=7056,
    fixed_bytes=0,
    memory=2**60,
    reuse=1.0,
    seed=0,
    batch_size=32,
):
    """Their schedule. The budget does not include the bytes of the transitions' `start`."""
    of_start = 8 * sum(sizes)
    return make_schedule(
        seed, transitions_of(sizes, fixed_bytes), batch_size=batch_size, row_bytes=row_bytes,
        memory=memory + of_start,
        budget=None if budget is None else budget + of_start, reuse=reuse,
    )  # fmt: skip


def tight_schedule(sizes, gib, fixed_bytes=0):
    """The schedule for a budget in GiB that includes everything."""
    return make_schedule(
        0, transitions_of(sizes, fixed_bytes), batch_size=32, row_bytes=7056, budget=int(gib * GIB),
        memory=2**60, reuse=1.0,
    )  # fmt: skip


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.integers(50, 20_000), min_size=1, max_size=3),
    st.integers(1200, 12_000),
    st.integers(0, 10**6),
    st.integers(0, 3),
)
def test_each_block_is_buffered_equally_often_in_a_pass(sizes, affordable, position, seed):
    try:
        schedule = schedule_of(sizes, affordable * 100, row_bytes=100, seed=seed)
    except UserError:
        return
    counts = np.zeros(schedule.num_blocks, int)
    for at in range(position, position + schedule.num_blocks):
        blocks = buffered(schedule, at)
        assert len(np.unique(blocks)) == schedule.num_buffered
        counts[blocks] += 1
    assert set(counts) == {schedule.num_buffered}
    # The blocks hold each transition once. Their sizes in one dataset differ by at most 1.
    for size, start, edges in zip(sizes, np.cumsum([0, *sizes[:-1]]), schedule.edges, strict=True):
        assert (edges[0], edges[-1]) == (start, start + size)
        assert set(np.diff(edges)) <= {size // schedule.num_blocks, -(-size // schedule.num_blocks)}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(5_000, 500_000), st.integers(700, 100_000))
def test_the_budget_is_kept_and_used(size, affordable):
    try:
        schedule = schedule_of([size], affordable * 100, row_bytes=100)
    except UserError:
        return
    first, stop = block_rows(np.arange(size), schedule.edges, 4)
    largest = int(np.max(stop - first))
    if schedule.moves:
        held = (schedule.num_buffered + AHEAD + 2) * largest
        assert held <= affordable
        assert held > 0.8 * affordable or schedule.num_buffered == schedule.num_blocks - 1
        assert largest <= BLOCK + 4
    else:
        assert size + 1 <= affordable


def test_all_is_buffered_where_it_fits():
    for budget in (None, 7056 * 20_001):
        schedule = schedule_of([20_000], budget)
        assert not schedule.moves
        assert schedule.edges.tolist() == [[0, 20_000]]
        assert [schedule.position(step, 32) for step in (0, 10**9)] == [0, 0]
    assert schedule_of([20_000], 7056 * 20_001, fixed_bytes=1).moves


def test_positions_by_hand():
    # A block is a 64th of the affordable rows: 312 transitions; 99 blocks of 310.3 on average.
    schedule = schedule_of([30_720], 20_000 * 7056)
    assert (schedule.num_blocks, schedule.draws_per_move) == (30_720 // 312 + 1, 310)
    assert [schedule.position(step, 31) for step in (0, 9, 10, 99, 100)] == [0, 0, 1, 9, 10]
    assert schedule_of([30_720], 20_000 * 7056, reuse=2.0).draws_per_move == 621
    assert not np.array_equal(schedule.order, schedule_of([30_720], 20_000 * 7056, seed=1).order)


def test_the_rows_that_blocks_need():
    valid = np.array([0, 1, 5, 6, 9])
    first, stop = block_rows(valid, np.array([[0, 2, 5]]), 4)
    assert (first.tolist(), stop.tolist()) == ([[0, 2]], [[3, 11]])


def test_a_budget_that_is_too_small():
    with pytest.raises(UserError, match=r"^config.data_memory_gib: 0.002 is too small for blocks"):
        tight_schedule([50_000], 0.002)
    fixed_bytes = int(0.02 * GIB)
    with pytest.raises(UserError) as caught:
        tight_schedule([50_000], 0.01, fixed_bytes)
    least = float(str(caught.value).split("expected ")[1].split(" ")[0])
    assert tight_schedule([50_000], least, fixed_bytes).moves
    with pytest.raises(UserError, match=r"of 16,675 rows \(each block needs one of the 3 tra"):
        tight_schedule([3, 50_000], 0.1)


def test_data_larger_than_memory_need_a_budget():
    with pytest.raises(UserError) as caught:
        schedule_of([300_000], None, memory=GIB)
    assert str(caught.value) == (
        "config.data_memory_gib: 0 asks for all the data in memory, 1.97 GiB, and a process may "
        "use 1; expected a number that fits"
    )


@pytest.mark.parametrize(("batch_size", "lanes"), [(32, 32), (48, 16), (96, 32), (7, 1), (640, 64)])
def test_lanes_divide_the_batch_and_the_buffer(batch_size, lanes):
    schedule = schedule_of([2**20], 600 * 2**20, row_bytes=1000, batch_size=batch_size)
    assert 8 * LANES < schedule.num_buffered <= 600 * 2**20 // 1000 // BLOCK
    assert schedule.num_lanes == lanes
    assert schedule.num_buffered % lanes == 0
    assert batch_size % lanes == 0


def test_a_small_buffer_has_few_lanes():
    schedule = schedule_of([2**20], 35 * 2**20, row_bytes=1000, batch_size=64)
    assert schedule.num_lanes in (1, 2, 4)
    assert schedule.num_buffered >= 8 * schedule.num_lanes
