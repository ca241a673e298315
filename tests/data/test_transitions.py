import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data.transitions import episode_spans, find_transitions, transition_rows
from pvn.types import ATARI
from tests.datasets import make_rows

SIDE = 2  # of a frame; gathering does not depend on it
ENDS = ("terminal", "truncated", "cut")  # cut: neither flag; another episode follows


def rows_of(episodes, numbers=None):
    """Rows of (length, end) episodes. All frames differ, and none is zeros."""
    lengths, ends = zip(*episodes, strict=True)
    total = sum(lengths)
    pixel = np.arange(total)
    frame = np.stack([pixel // 255 + 1, pixel % 255 + 1, pixel % 7, pixel % 11], -1)
    return make_rows(lengths, np.zeros(total), ends, numbers)._replace(
        frame=frame.reshape(total, SIDE, SIDE).astype(np.uint8),
        action=np.random.default_rng(total).integers(1, 18, total).astype(np.int32),
    )


@st.composite
def datasets(draw):
    episodes = draw(
        st.lists(st.tuples(st.integers(1, 7), st.sampled_from(ENDS)), min_size=1, max_size=8)
    )
    # Episode numbers are unique, but need not ascend or begin at 0.
    numbers = draw(st.permutations(range(-2, len(episodes) - 2)))
    rows = rows_of(episodes, numbers)
    starts = np.cumsum([0, *(length for length, _ in episodes[:-1])])
    rows.cut_start[starts] = draw(
        st.lists(st.booleans(), min_size=len(starts), max_size=len(starts))
    )
    size = len(rows.action)
    return rows, np.array(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=12)))


def slow_frame(rows, row, offset):
    """The frame `offset` rows after `row`, found by single steps within the episode."""
    step = 1 if offset > 0 else -1
    at = row
    for _ in range(abs(offset)):
        at += step
        if not 0 <= at < len(rows.action) or rows.episode[at] != rows.episode[row]:
            return np.zeros((SIDE, SIDE), np.uint8)
    return rows.frame[at]


def slow_stack(rows, row):
    return np.stack([slow_frame(rows, row, offset) for offset in (-3, -2, -1, 0)], axis=-1)


def slow_transitions(rows):
    found = []
    for row in range(len(rows.action)):
        has_next = row + 1 < len(rows.action) and rows.episode[row + 1] == rows.episode[row]
        start = row
        while start > 0 and rows.episode[start - 1] == rows.episode[row]:
            start -= 1
        has_stack = not rows.cut_start[start] or row - start >= ATARI.stack - 1
        if has_stack and (rows.terminal[row] or has_next):
            found.append(row)
    return found


# By hand.


def test_by_hand():
    rows = rows_of([(1, "terminal"), (5, "truncated"), (2, "terminal")])
    rows.frame[:] = np.arange(1, 9)[:, None, None]
    np.testing.assert_array_equal(episode_spans(rows.episode), [[0, 1, 6], [1, 6, 8]])
    transitions = find_transitions(rows)
    np.testing.assert_array_equal(transitions.first, [0, 1, 1, 1, 1, 1, 6, 6])
    np.testing.assert_array_equal(transitions.stop, [1, 6, 6, 6, 6, 6, 8, 8])
    # No transition starts at row 5: its episode was cut there, so the next state is unknown.
    np.testing.assert_array_equal(transitions.start, [0, 1, 2, 3, 4, 6, 7])
    assert (transitions.num_transitions, transitions.num_rows) == (7, 8)
    assert transitions.groups.tolist() == [0, 7]

    stacks = transitions.observations(np.arange(8))
    assert (stacks.shape, stacks.dtype) == ((8, SIDE, SIDE, ATARI.stack), np.uint8)
    np.testing.assert_array_equal(
        stacks[:, 1, 0],
        [
            [0, 0, 0, 1],
            [0, 0, 0, 2],
            [0, 0, 2, 3],
            [0, 2, 3, 4],
            [2, 3, 4, 5],
            [3, 4, 5, 6],
            [0, 0, 0, 7],
            [0, 0, 7, 8],
        ],
    )

    batch = transitions.batch(np.array([4, 0, 7]))
    np.testing.assert_array_equal(
        batch.frames[:, :, 0, 0], [[2, 3, 4, 5, 6], [0, 0, 0, 1, 0], [0, 0, 7, 8, 0]]
    )
    np.testing.assert_array_equal(batch.discount_t, [1, 0, 0])
    np.testing.assert_array_equal(batch.a_t, [rows.action[5], 0, 0])
    assert (batch.response_tm1, batch.return_tm1, batch.places) == (None, None, None)
    rows.cut_start[1] = True  # of the second episode, only row 4 has both a stack and a next row
    np.testing.assert_array_equal(transition_rows(rows), [0, 4, 6, 7])


def test_groups_and_a_choice_of_rows():
    rows = rows_of([(4, "terminal"), (3, "truncated"), (5, "terminal")])
    transitions = find_transitions(rows, np.array([0, 7, 12]))
    assert transitions.start.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert transitions.groups.tolist() == [0, 6, 11]
    odd = find_transitions(rows, np.array([0, 7, 12]), np.arange(12) % 2 == 1)
    assert odd.start.tolist() == [1, 3, 5, 7, 9, 11]
    assert odd.groups.tolist() == [0, 3, 6]
    # A row: 4 + 4 + 1 + 1 + 1 + 4 bytes of columns, and `first` and `stop`. A transition: `start`.
    assert transitions.nbytes == 12 * (15 + 16) + 11 * 8


def test_one_row():
    rows = rows_of([(1, "cut")])
    assert [list(edge) for edge in episode_spans(rows.episode)] == [[0], [1]]
    assert transition_rows(rows).size == 0
    stack = find_transitions(rows).observations(np.array([0]))
    np.testing.assert_array_equal(stack[..., -1], rows.frame)
    assert not stack[..., :-1].any()


def test_gathering_leaves_the_rows_as_they_are():
    rows = rows_of([(2, "terminal"), (3, "terminal")])
    before = [column.copy() for column in rows[:-1]]  # without RAM
    find_transitions(rows).batch(np.arange(5))
    for column, copy in zip(rows[:-1], before, strict=True):
        np.testing.assert_array_equal(column, copy)


# Compared with slow loops.


@settings(deadline=None, derandomize=True, max_examples=150)
@given(datasets())
def test_stacks(case):
    rows, index = case
    got = find_transitions(rows).observations(index)
    expected = np.stack([slow_stack(rows, row) for row in index])
    np.testing.assert_array_equal(got, expected, strict=True)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(datasets())
def test_transition_rows(case):
    rows, _ = case
    assert transition_rows(rows).tolist() == slow_transitions(rows)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(datasets())
def test_episode_spans(case):
    rows, _ = case
    transitions = find_transitions(rows)
    first, end = transitions.first, transitions.stop
    starts, stops = episode_spans(rows.episode)
    assert (sorted(set(first)), sorted(set(end))) == (starts.tolist(), stops.tolist())
    for row, number in enumerate(rows.episode):
        of_episode = [r for r, n in enumerate(rows.episode) if n == number]
        assert (first[row], end[row]) == (of_episode[0], of_episode[-1] + 1)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(datasets(), st.booleans(), st.integers(0, 1))
def test_frames_with_and_without_stacking(case, stacked, last):
    rows, index = case
    offsets = range(-3 if stacked else 0, last + 1)
    seen = rows if stacked else rows._replace(frame=rows.frame[..., None])
    at = find_transitions(seen).frame_rows(index, last)
    got = np.where((at >= 0)[..., None, None], rows.frame[at], np.uint8(0))
    expected = np.stack([np.stack([slow_frame(rows, r, o) for o in offsets]) for r in index])
    np.testing.assert_array_equal(got, expected, strict=True)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(datasets())
def test_batches(case):
    rows, _ = case
    index = np.array(slow_transitions(rows), int)
    if not index.size:
        return
    responses = np.random.default_rng(0).normal(size=(len(rows.action), 3)).astype(np.float16)
    returns = np.random.default_rng(1).normal(size=(len(rows.action), 2)).astype(np.float32)
    batch = find_transitions(rows).batch(index, responses, returns)

    shape = (len(index), ATARI.stack + 1, SIDE, SIDE)
    assert (batch.frames.shape, batch.frames.dtype) == (shape, np.uint8)
    now = np.moveaxis(batch.frames[:, : ATARI.stack], 1, -1)
    after = np.moveaxis(batch.frames[:, 1:], 1, -1)
    for at, row in enumerate(index):
        np.testing.assert_array_equal(now[at], slow_stack(rows, row))
        if rows.terminal[row]:
            assert not after[at, ..., -1].any()
        else:
            np.testing.assert_array_equal(after[at], slow_stack(rows, row + 1))
    expected = {
        "a_tm1": np.array([rows.action[r] for r in index], np.int32),
        "a_t": np.array([0 if rows.terminal[r] else rows.action[r + 1] for r in index], np.int32),
        "discount_t": np.array([0.0 if rows.terminal[r] else 1.0 for r in index], np.float32),
        "response_tm1": np.stack([responses[r] for r in index]),
        "return_tm1": np.stack([returns[r] for r in index]),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(getattr(batch, name), value, strict=True, err_msg=name)


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_dataset(end):
    rows = rows_of([(3, "terminal"), (2, end)])
    last = [4] if end == "terminal" else []
    assert transition_rows(rows).tolist() == [0, 1, 2, 3, *last]


def test_spans_of_episodes():
    starts, stops = episode_spans(np.array([4, 4, 4, 7, 2, 2]))
    assert (starts.tolist(), stops.tolist()) == ([0, 3, 4], [3, 4, 6])
