import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.evaluation.replay import FeatureBuffer, Replay
from pvn.evaluation.sampling import Priorities, SumTree, draw_uniform


def new_replay(capacity=8, num_envs=2, n_step=2):
    states = FeatureBuffer(capacity, num_envs, 1)
    return Replay(capacity, num_envs, states, n_step=n_step, discount=0.9)


def add(replay, count, truncated=()):
    """Adds timesteps. truncated: (timestep, environment) that are truncated."""
    for _ in range(count):
        cut = np.array([(replay.added, env) in truncated for env in range(replay.num_envs)])
        no = np.zeros(replay.num_envs, bool)
        zero = np.zeros(replay.num_envs)
        replay.add(np.full((replay.num_envs, 1), replay.added), zero, zero, no, cut)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.data())
def test_the_tree_finds_what_a_cumulative_sum_finds(size, data):
    tree, numbers = SumTree(size), np.zeros(size)
    for _ in range(3):
        index = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True)))
        values = np.array(
            data.draw(st.lists(st.integers(0, 5), min_size=len(index), max_size=len(index)))
        )
        tree.set(index, values)
        numbers[index] = values
    assert tree.total == numbers.sum()
    np.testing.assert_array_equal(tree.leaves[:size], numbers)
    if tree.total:
        mass = np.arange(0, tree.total, 0.5)
        expected = np.searchsorted(np.cumsum(numbers), mass, side="right")
        np.testing.assert_array_equal(tree.find(mass), expected)


def test_a_mass_at_the_very_end_finds_a_number_above_0():
    tree = SumTree(5)
    tree.set(np.array([0, 2]), np.array([0.1, 0.2]))
    assert tree.find(np.array([tree.total]))[0] == 2


def test_uniform_draws():
    replay = new_replay()
    add(replay, 11, truncated={(7, 1)})  # timesteps 3 to 10 are left, starts are 3 to 8
    draw = draw_uniform(replay, np.random.default_rng(0), 2000)
    pairs, counts = np.unique(np.stack([draw.time, draw.env]), axis=1, return_counts=True)
    expected = [(t, e) for t in range(3, 9) for e in range(2) if (t, e) != (7, 1)]
    assert list(map(tuple, pairs.T)) == expected
    assert np.sum(np.square(counts - 2000 / 11) / (2000 / 11)) < 29.6  # chi-square, p = 0.001
    assert (draw.weight == 1).all()


def test_prioritised_draws_follow_the_losses():
    replay = new_replay(capacity=100, num_envs=1, n_step=1)
    add(replay, 5)  # starts 0 to 3
    priorities = Priorities(replay, exponent=0.5, importance=1.0)
    random = np.random.default_rng(0)
    first = priorities.draw(replay, random, 400, batch_size=4)
    # At first all have the same priority, so each fourth of the mass gives one row.
    np.testing.assert_array_equal(np.bincount(first.time), [100] * 4)
    np.testing.assert_allclose(first.weight, np.ones(400), rtol=1e-6)

    rows = first._replace(time=np.arange(4), env=np.zeros(4, int), weight=None)
    priorities.update(replay, rows, np.array([1.0, 4, 9, 16]))
    draw = priorities.draw(replay, random, 1000, batch_size=1000)
    np.testing.assert_array_equal(np.bincount(draw.time), [100, 200, 300, 400])
    # weight = (1 / (4 * probability)), largest 1: probabilities 0.1, 0.2, 0.3, 0.4
    for time, weight in enumerate([1, 1 / 2, 1 / 3, 1 / 4]):
        np.testing.assert_allclose(draw.weight[draw.time == time], weight, rtol=1e-6)
    # A new row gets the largest priority so far.
    add(replay, 1)
    draw = priorities.draw(replay, random, 1400, batch_size=1400)
    np.testing.assert_array_equal(np.bincount(draw.time), [100, 200, 300, 400, 400])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(4, 30))
def test_rows_without_an_interaction_are_never_drawn(seed, n_step, timesteps):
    random = np.random.default_rng(seed)
    replay = new_replay(n_step=n_step)
    cuts = {(int(random.integers(30)), int(random.integers(2))) for _ in range(8)}
    priorities = Priorities(replay, 0.5, 0.5)
    drawn = []
    for _ in range(timesteps):
        add(replay, 1, truncated=cuts)
        if len(replay.starts()[0]):
            draw = priorities.draw(replay, random, 32, batch_size=16)
            assert replay.is_start(draw.time, draw.env).all()
            priorities.update(replay, draw, random.random(32))
            drawn.append(draw)
            leaves = priorities.state()["priority"]
            assert np.count_nonzero(leaves) == len(replay.starts()[0])


def test_restored_priorities_draw_the_same():
    replay = new_replay()
    one = Priorities(replay, 0.7, 0.4)
    for _ in range(12):
        add(replay, 1)
        if replay.has_starts:
            draw = one.draw(replay, np.random.default_rng(replay.added), 8, batch_size=4)
            one.update(replay, draw, np.arange(8.0))
    other = Priorities(replay, 0.7, 0.4)
    other.restore(one.state())
    for _ in range(3):
        add(replay, 1)
        draws = [
            each.draw(replay, np.random.default_rng(9), 8, batch_size=4) for each in (one, other)
        ]
        for x, y in zip(*draws, strict=True):
            np.testing.assert_array_equal(x, y)
