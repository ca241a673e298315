import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pvn.probes.value import ValueTarget
from tests.datasets import as_dataset, make_rows


def slow_returns(rows, discount, clip):
    """A slow reference, (returns, known), that follows each row to the end of its episode."""
    total = len(rows.reward)
    returns, known = np.zeros(total), np.zeros(total, bool)
    for row in range(total):
        at, weight = row, 1.0
        while True:
            reward = float(rows.reward[at])
            returns[row] += weight * (min(max(reward, -1.0), 1.0) if clip else reward)
            weight *= discount
            at += 1
            if at == total or rows.episode[at] != rows.episode[row]:
                break
        known[row] = rows.terminal[at - 1] or weight < 0.01
    return returns, known


@st.composite
def datasets(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8))
    kinds = st.sampled_from(["terminal", "truncated", "cut"])
    ends = [draw(kinds) for _ in lengths]
    numbers = draw(st.permutations(range(3, 3 + len(lengths))))
    rewards = draw(st.lists(st.integers(-40, 40), min_size=sum(lengths), max_size=sum(lengths)))
    return make_rows(lengths, np.array(rewards) / 8, ends, numbers)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(datasets(), st.sampled_from([0.0, 0.3, 0.6, 0.9, 0.99, 1.0]), st.booleans())
@example(make_rows([1], [5]), 0.9, True)
@example(make_rows([900], np.ones(900), ["cut"]), 0.99, False)
def test_returns_of_a_slow_reference(rows, discount, clip):
    returns, known = ValueTarget(discount, clip).targets(as_dataset(rows))
    expected, expected_known = slow_returns(rows, discount, clip)
    assert returns.dtype == np.float32
    assert known.dtype == bool
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(known, expected_known)


def test_returns_by_hand():
    rewards = [1, 0, 4] + [-3, 2] + [0.5]
    rows = make_rows([3, 2, 1], rewards, ["terminal", "terminal", "terminal"])
    returns, known = ValueTarget(0.5, False).targets(as_dataset(rows))
    assert returns.tolist() == [2, 2, 4, -2, 2, 0.5]
    assert known.all()
    returns, _ = ValueTarget(0.5, True).targets(as_dataset(rows))
    assert returns.tolist() == [1.25, 0.5, 1, -0.5, 1, 0.5]
    assert rows.reward.tolist() == rewards  # not changed
    # (1/2)^6 is more than 1 %, (1/2)^7 is less: values are known seven steps or more before a cut.
    for ends in (["terminal", "truncated"], ["terminal", "cut"]):
        rows = make_rows([2, 9], np.zeros(11), ends)
        _, known = ValueTarget(0.5, True).targets(as_dataset(rows))
        assert known.tolist() == [True] * 2 + [True] * 3 + [False] * 6
