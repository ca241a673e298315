from typing import NamedTuple

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pvn.evaluation.replay import FeatureBuffer, FrameBuffer, Replay
from pvn.evaluation.sampling import draw_uniform
from pvn.types import ATARI

GOES_ON, TERMINAL, TRUNCATED = 0, 1, 2
FEATURES = 2


class Play(NamedTuple):
    """T timesteps of E environments."""

    features: np.ndarray  # [T, E, F]
    action: np.ndarray  # [T, E]
    reward: np.ndarray  # [T, E]
    end: np.ndarray  # [T, E]


def some_play(end, rewards=None):
    """All rows differ. Rewards are integers, which float32 adds exactly."""
    steps, num_envs = end.shape
    number = np.arange(1, end.size + 1, dtype=np.float32).reshape(steps, num_envs)
    random = np.random.default_rng(end.size)
    return Play(
        features=np.stack([number, -number], axis=-1),
        action=random.integers(18, size=end.shape).astype(np.int32),
        reward=random.integers(-9, 10, end.shape) if rewards is None else np.array(rewards),
        end=end,
    )


def filled(play, capacity, n_step, discount):
    num_envs = play.end.shape[1]
    states = FeatureBuffer(capacity, num_envs, FEATURES)
    replay = Replay(capacity, num_envs, states, n_step=n_step, discount=discount)
    for features, action, reward, end in zip(*play, strict=True):
        replay.add(features, action, reward.astype(np.float32), end == TERMINAL, end == TRUNCATED)
    return replay


def sample(replay, seed, count):
    draw = draw_uniform(replay, np.random.default_rng(seed), count)
    return replay.gather(draw.time, draw.env)


def slow_interactions(play, capacity, n_step, discount):
    """A slow reference, {(time, env): interaction}, that follows each episode row by row.

    The interaction is (features, action, return, discount, features later).
    """
    steps, num_envs = play.end.shape
    found = {}
    for env in range(num_envs):
        for start in range(max(0, steps - capacity), steps):
            if start + n_step > steps - 1:
                continue  # the replay does not hold its n-th next row yet
            total, weight, row = 0.0, 1.0, start
            for _ in range(n_step):
                if play.end[row, env] == TRUNCATED:
                    break  # the state after this action is not stored: stop before it
                total += weight * play.reward[row, env]
                weight *= discount
                row += 1
                if play.end[row - 1, env] == TERMINAL:
                    weight = 0.0
                    break
            if row == start:
                continue  # the state after the first action is not stored
            found[start, env] = (
                play.features[start, env],
                play.action[start, env],
                total,
                weight,
                play.features[row, env],
            )
    return found


def assert_holds(replay, found):
    """starts() returns these rows in order, and gather() their interactions."""
    time, env = replay.starts()
    assert list(zip(time.tolist(), env.tolist(), strict=True)) == sorted(found)
    if not found:
        return
    got = replay.gather(time, env)
    assert [field.dtype for field in got] == [np.float32, np.int32, np.float32] + 2 * [np.float32]
    expected = zip(*(found[key] for key in sorted(found)), strict=True)
    expected = [np.array(field) for field in expected]
    np.testing.assert_array_equal(got.s_tm1, expected[0])
    np.testing.assert_array_equal(got.a_tm1, expected[1])
    np.testing.assert_allclose(got.r_t, expected[2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.discount_t, expected[3], rtol=1e-6, atol=0)
    alive = got.discount_t > 0
    np.testing.assert_array_equal(got.s_t[alive], expected[4][alive])


@st.composite
def cases(draw):
    steps, num_envs = draw(st.integers(0, 24)), draw(st.integers(1, 3))
    # Ends are frequent, so that most n-step windows contain one. Some plays have none.
    kinds = draw(st.sampled_from([[0], [0, 1], [0, 0, 2], [0, 0, 0, 1, 2], [0, 1, 2, 2]]))
    ends = draw(
        st.lists(st.sampled_from(kinds), min_size=steps * num_envs, max_size=steps * num_envs)
    )
    n_step = draw(st.integers(1, 5))
    capacity = draw(st.integers(n_step + 1, 12))
    discount = draw(st.sampled_from([0.5, 0.9, 1.0]))
    return np.array(ends, int).reshape(steps, num_envs), capacity, n_step, discount


@settings(deadline=None, derandomize=True, max_examples=150)
@given(cases())
@example((np.zeros((20, 2), int), 6, 5, 0.9))  # exactly one timestep to start from
@example((np.full((9, 1), TRUNCATED), 20, 2, 0.9))  # nothing to start from
@example((np.full((9, 1), TERMINAL), 4, 3, 0.9))  # episodes of one step
def test_slow_reference(case):
    end, capacity, n_step, discount = case
    play = some_play(end)
    replay = filled(play, capacity, n_step, discount)
    assert len(replay) == min(len(end), capacity) * end.shape[1]
    assert_holds(replay, slow_interactions(play, capacity, n_step, discount))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(cases(), st.integers(0, 2**32 - 1))
def test_samples_come_from_the_starts(case, seed):
    end, capacity, n_step, discount = case
    play = some_play(end)
    found = slow_interactions(play, capacity, n_step, discount)
    if not found:
        return
    replay = filled(play, capacity, n_step, discount)
    batch = sample(replay, seed, 64)
    assert batch.s_tm1.shape == batch.s_t.shape == (64, FEATURES)
    row_of = {float(play.features[key][0]): key for key in found}
    for number in range(64):
        features, action, total, weight, later = found[row_of[float(batch.s_tm1[number, 0])]]
        np.testing.assert_array_equal(batch.s_tm1[number], features)
        assert batch.a_tm1[number] == action
        np.testing.assert_allclose(batch.r_t[number], total, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(batch.discount_t[number], weight, rtol=1e-6)
        if weight:
            np.testing.assert_array_equal(batch.s_t[number], later)
    again = sample(replay, seed, 64)
    for one, other in zip(batch, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_samples_are_uniform_over_the_starts():
    end = np.zeros((14, 3), int)
    end[[5, 7, 8], [0, 1, 1]] = TRUNCATED
    end[6, 2] = TERMINAL
    play = some_play(end)
    replay = filled(play, 10, 2, 0.9)
    found = slow_interactions(play, 10, 2, 0.9)
    assert len(found) == 8 * 3 - 3
    draws = 21_000
    batch = sample(replay, 0, draws)
    rows, counts = np.unique(batch.s_tm1[:, 0], return_counts=True)
    assert rows.tolist() == sorted(float(play.features[key][0]) for key in found)
    # Chi-square with 20 degrees of freedom: 45.3 is exceeded once in 1,000 seeds.
    assert np.sum(np.square(counts - draws / 21) / (draws / 21)) < 45.3
    other = sample(replay, 1, draws)
    assert not np.array_equal(other.s_tm1, batch.s_tm1)


def test_by_hand():
    # One environment; the row's reward and end. gamma = 1/2, three steps.
    #   row      0  1  2  3T 4  5  6C 7  8  9        (T is terminal, C truncated)
    rewards = [[4], [8], [2], [6], [1], [2], [9], [5], [4], [7]]
    end = np.zeros((10, 1), int)
    end[3], end[6] = TERMINAL, TRUNCATED
    play = some_play(end, rewards)
    replay = filled(play, 100, 3, 0.5)
    time, env = replay.starts()
    # Row 6 is truncated. The third next row of rows 7, 8 and 9 does not exist yet.
    assert time.tolist() == [0, 1, 2, 3, 4, 5]
    assert env.tolist() == [0] * 6
    batch = replay.gather(time, env)
    assert batch.r_t.tolist() == [
        4 + 8 / 2 + 2 / 4,
        8 + 2 / 2 + 6 / 4,
        2 + 6 / 2,
        6,
        1 + 2 / 2,  # stops before row 6 and bootstraps from it, two steps later
        2,
    ]
    assert batch.discount_t.tolist() == [1 / 8, 0, 0, 0, 1 / 4, 1 / 2]
    later = batch.s_t[:, 0] - 1  # features are the number of the row plus 1
    assert later[[0, 4, 5]].tolist() == [3, 6, 6]
    assert batch.s_tm1[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert batch.a_tm1.tolist() == play.action[:6, 0].tolist()


def test_what_follows_an_end_does_not_matter():
    end = np.zeros((12, 2), int)
    end[4, 0], end[6, 1] = TERMINAL, TRUNCATED
    play = some_play(end)
    altered = Play(*(np.copy(field) for field in play))
    for env, first in ((0, 5), (1, 7)):
        altered.features[first:, env] += 1000
        altered.reward[first:, env] += 1000
        altered.action[first:, env] += 1
    altered.reward[6, 1] += 1000  # the reward of the truncated row does not matter either
    before = np.repeat(np.arange(5), 2), np.tile([0, 1], 5)
    one = filled(play, 12, 5, 0.9).gather(*before)
    other = filled(altered, 12, 5, 0.9).gather(*before)
    np.testing.assert_array_equal(one.r_t, other.r_t)
    np.testing.assert_array_equal(one.discount_t, other.discount_t)
    alive = one.discount_t > 0
    assert alive.any()
    np.testing.assert_array_equal(one.s_t[alive], other.s_t[alive])


def test_what_is_added_is_copied():
    replay = Replay(4, 1, FeatureBuffer(4, 1, FEATURES), n_step=1, discount=0.9)
    features, reward = np.ones((1, FEATURES), np.float32), np.ones(1, np.float32)
    no = np.zeros(1, bool)
    for _ in range(2):
        replay.add(features, np.zeros(1, np.int32), reward, no, no)
    features[:], reward[:] = 7, 7
    batch = replay.gather(*replay.starts())
    assert batch.s_tm1.tolist() == batch.s_t.tolist() == [[1, 1]]
    assert batch.r_t.tolist() == [1]


def test_nothing_to_start_from_yet():
    replay = Replay(10, 2, FeatureBuffer(10, 2, FEATURES), n_step=3, discount=0.9)
    assert len(replay) == 0
    for added in range(4):
        assert replay.starts()[0].size == 0
        zeros = np.zeros(2)
        replay.add(np.zeros((2, FEATURES)), zeros, zeros, zeros.astype(bool), zeros.astype(bool))
        assert len(replay) == 2 * (added + 1)
    assert replay.starts()[0].tolist() == [0, 0]
    assert replay.starts()[1].tolist() == [0, 1]


def test_frames_are_stacked_within_their_episode():
    """Frame number t of environment e is full of 10 t + e."""
    capacity, num_envs = 7, 2
    ends = {(2, 0), (5, 1), (6, 0)}
    replay = Replay(
        capacity, num_envs, FrameBuffer(capacity, num_envs, ATARI), n_step=1, discount=0.9
    )
    for time in range(11):
        value = 10 * time + np.arange(num_envs)
        frames = np.broadcast_to(value[:, None, None], (num_envs, 84, 84)).astype(np.uint8)
        ended = np.array([(time, env) in ends for env in range(num_envs)])
        zero = np.zeros(num_envs)
        replay.add(frames, zero, zero, ended, np.zeros(num_envs, bool))
    # Timesteps 4 to 10 are left. The stack at 6 may need frame 4, and that at 7 frame 4 too.
    assert (replay.oldest, replay.first_start, replay.end_start) == (4, 7, 10)
    assert replay.is_start(np.arange(5, 11), np.zeros(6, int)).tolist() == [False] * 2 + [
        True, True, True, False,
    ]  # fmt: skip
    stack = replay.gather(np.array([7, 9, 8]), np.array([0, 0, 1]))
    shown = [[list(frame[:2, 0]) for frame in each] for each in stack.s_tm1]
    assert stack.s_tm1.dtype == np.uint8
    assert stack.s_tm1.shape == (3, 4, 84, 84)
    assert [[pair[0] for pair in each] for each in shown] == [
        [0, 0, 0, 70],  # the episode begins at timestep 7
        [0, 70, 80, 90],
        [0, 61, 71, 81],  # environment 1 began a new episode at timestep 6
    ]
    assert stack.s_t[:, -1, 0, 0].tolist() == [80, 100, 91]
