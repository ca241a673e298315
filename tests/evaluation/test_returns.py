import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.evaluation.replay import FeatureBuffer, Replay
from pvn.evaluation.returns import compute_returns


def column(reward, terminal=(), truncated=()):
    """Rows of one environment; the numbers are the timesteps that end an episode."""
    time = np.arange(len(reward))
    return {
        "reward": np.array(reward, np.float32)[:, None],
        "terminal": np.isin(time, terminal)[:, None],
        "truncated": np.isin(time, truncated)[:, None],
    }


# Timestep 2 ends a game, 5 is cut by the time limit, 7 is the last one stored.
ROWS = column([1, 2, 4, 8, 16, 32, 64, 128], terminal=[2], truncated=[5])


def test_the_return_to_the_end_of_the_episode_by_hand():
    found = compute_returns(ROWS, 0.5, None)
    assert found.reward[:, 0].tolist() == [1 + 1 + 1, 2 + 2, 4, 8 + 8, 16, 0, 64, 0]
    assert found.discount[:, 0].tolist() == [0, 0, 0, 0.25, 0.5, 1, 0.5, 1]
    assert found.at[3:, 0].tolist() == [5, 5, 5, 7, 7]
    assert found.usable[:, 0].tolist() == [True] * 5 + [False, True, False]


def test_n_step_returns_by_hand():
    found = compute_returns(ROWS, 0.5, 2)
    assert found.reward[:, 0].tolist() == [1 + 1, 2 + 2, 4, 8 + 8, 16, 0, 64, 0]
    assert found.discount[:, 0].tolist() == [0.25, 0, 0, 0.25, 0.5, 1, 0.5, 1]
    assert found.at[[0, 3, 4, 5, 6, 7], 0].tolist() == [2, 5, 5, 5, 7, 7]


def test_a_game_that_ends_in_the_last_timestep_is_known():
    for n_step in (1, 3, None):
        found = compute_returns(column([1, 2], terminal=[1]), 0.5, n_step)
        assert found.usable.all()
        assert found.reward[1, 0] == 2
        assert found.discount[1, 0] == 0
    assert found.reward[0, 0] == 2


@pytest.mark.parametrize("n_step", [1, 3, 5])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(6, 30))
def test_the_replay_gives_the_same_n_step_returns(n_step, seed, length):
    random = np.random.default_rng(seed)
    replay = Replay(length, 3, FeatureBuffer(length, 3, 1), n_step=n_step, discount=0.7)
    for time in range(length + 4):
        ended = random.random((2, 3)) < 0.2
        number = np.arange(3)[:, None] + 3 * time
        reward = random.normal(size=3).astype(np.float32)
        replay.add(number.astype(np.float32), np.zeros(3), reward, ended[0], ended[1] & ~ended[0])
    at = replay.starts()
    batch = replay.gather(*at)
    found = compute_returns(replay.rows(replay.oldest), 0.7, n_step)
    row = at[0] - replay.oldest, at[1]
    assert found.usable[row].all()
    np.testing.assert_allclose(found.reward[row], batch.r_t, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.discount[row], batch.discount_t, rtol=1e-6)
    going = batch.discount_t > 0
    later = 3 * (found.at[row] + replay.oldest) + at[1]
    np.testing.assert_array_equal(later[going], batch.s_t[going, 0])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(2, 20))
def test_as_many_steps_as_there_are_reach_the_end_of_the_episode(seed, length):
    random = np.random.default_rng(seed)
    ended = random.random((2, length, 2)) < 0.15
    rows = {"reward": random.normal(size=(length, 2)), "terminal": ended[0], "truncated": ended[1]}
    whole, steps = compute_returns(rows, 0.9, None), compute_returns(rows, 0.9, length)
    np.testing.assert_allclose(whole.reward, steps.reward, atol=1e-12)
    np.testing.assert_allclose(whole.discount, steps.discount, atol=1e-12)
    going = whole.discount > 0
    np.testing.assert_array_equal(whole.at[going], steps.at[going])
    np.testing.assert_array_equal(whole.usable, steps.usable)
