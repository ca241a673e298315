"""The learner: when it fits, which fits it uses, and that it goes on bit for bit."""

import numpy as np
import pytest

from pvn.evaluation.fqi import FqiLearner, FqiSettings
from pvn.evaluation.fqi_fit import HELD_OUT, FitRows, Plan, fit_fqi
from pvn.evaluation.gram import ReplayMoments
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.replay import FeatureBuffer, Replay
from pvn.types import ATARI
from tests.evaluation.pixels import pixel_features

CONTEXT = LearnerContext(
    features=pixel_features(1), num_actions=1, num_envs=2, discount=0.9, n_step=1,
    clip_rewards=True, learn_after=20, seed=0, observation=ATARI,
)  # fmt: skip


def learner(**settings):
    return FqiLearner(CONTEXT, FqiSettings(refit_every=50, start="previous", **settings))


def diverging_replay():
    """After Tsitsiklis and Van Roy (1996): the slope w becomes 0.1 + 2.7 w in each sweep.

    Environment 0 goes from feature 1 to 3 with reward 0.1; environment 1 stays at feature 0.
    """
    replay = Replay(100, 2, FeatureBuffer(100, 2, 1), n_step=1, discount=0.9)
    action, terminal = np.zeros(2, np.int32), np.zeros(2, bool)
    for number in range(90):
        second = number % 2 == 1
        features = np.array([[3.0 if second else 1.0], [0.0]])
        reward = np.array([0.1, 0])
        replay.add(features, action, reward, terminal, np.array([second, False]))
    return replay


def test_fits_fall_due_at_multiples_of_refit_every():
    replay, one = diverging_replay(), learner()
    assert not one.head.kernel.any()
    fitted = [step for step in range(2, 202, 2) if one.learn(replay, step)]
    assert fitted == [20, 50, 100, 150, 200]
    assert one.finish(replay, 200) == {}  # the fit was already made


def test_a_fit_that_diverged_is_not_used():
    replay, one = diverging_replay(), learner(sweeps=2)
    metrics = one.learn(replay, 20)
    assert set(metrics) == {"held_out_r2", "penalty", "change", "bounded_share", "diverged"}
    assert (metrics["diverged"], one.num_fits, one.diverged_fits) == (0, 1, 0)
    fitted = one.head
    np.testing.assert_allclose(fitted.kernel, [[0.37]], rtol=1e-4)
    # The bound is 1 / (1 - 0.9). From there, 0.1 + 2.7 w exceeds 10 after four more sweeps.
    for step, diverged_fits in ((50, 0), (100, 1), (150, 2)):
        assert one.learn(replay, step)["diverged"] == (diverged_fits > 0)
        assert one.diverged_fits == diverged_fits
    assert one.num_fits == 2
    np.testing.assert_allclose(one.head.kernel, [[0.1 + 2.7 * (0.1 + 2.7 * 0.37)]], rtol=1e-4)
    kept = one.head
    assert one.finish(replay, 160)["diverged"] == 1
    assert one.head is kept


def test_the_agent_plays_with_the_mean_of_the_last_fits():
    replay, one = diverging_replay(), learner(sweeps=1, average=2)
    slopes = [0.1, 0.37, 0.1 + 2.7 * 0.37]  # of the fits; each starts from the one before
    for step, played in ((20, 0.1), (50, np.mean(slopes[:2])), (100, np.mean(slopes[1:]))):
        one.learn(replay, step)
        np.testing.assert_allclose(one.head.kernel, [[played]], rtol=1e-4)


def test_without_sweeps_a_fit_is_the_monte_carlo_value_whatever_the_start():
    replay, one = diverging_replay(), learner(sweeps=0)
    for step in (20, 50, 100, 150):
        one.learn(replay, step)
    assert (one.num_fits, one.diverged_fits) == (4, 0)


@pytest.mark.parametrize(("clip", "bounded"), [(True, 0.5), (False, 0.0)])
def test_the_bound_of_unclipped_rewards_is_that_of_the_largest_return(clip, bounded):
    """Half of the rewards are 30: above 1 / (1 - 0.9) = 10, and below 30 / (1 - 0.9)."""
    replay = Replay(100, 2, FeatureBuffer(100, 2, 1), n_step=1, discount=0.9)
    random = np.random.default_rng(0)
    for _ in range(90):
        replay.add(
            random.normal(size=(2, 1)), np.zeros(2), np.array([30.0, 0]), np.ones(2, bool),
            np.zeros(2, bool),
        )  # fmt: skip
    one = FqiLearner(CONTEXT._replace(clip_rewards=clip), FqiSettings(refit_every=50))
    assert one.learn(replay, 20)["bounded_share"] == bounded


VARIANTS = [
    FqiSettings(2_000, sweeps=1),
    FqiSettings(2_000, sweeps=0, average=2),
    FqiSettings(2_000, sweeps=3, double=True, prior="previous", max_residual=0.5),
    FqiSettings(2_000, sweeps=2, start="previous", average=3),
]


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("capacity", [1000, 300])  # more than all timesteps; the ring overwrites
def test_a_learner_that_is_restored_goes_on_bit_for_bit(settings, capacity):
    """Kept moments have the bits of those that a restored learner computes again."""
    context = LearnerContext(pixel_features(5), 3, 16, 0.9, 2, True, 1_000, 1, ATARI)
    random = np.random.default_rng(0)
    replay = Replay(capacity, 16, FeatureBuffer(capacity, 16, 5), n_step=2, discount=0.9)
    one, restored = FqiLearner(context, settings), None
    for timestep in range(1, 701):
        replay.add(
            random.normal(size=(16, 5)).astype(np.float32) + 1,
            random.integers(3, size=16),
            np.clip(random.normal(size=16), -1, 1).astype(np.float32),
            random.random(16) < 0.02,
            np.zeros(16, bool),
        )
        if replay.has_starts:
            metrics = one.learn(replay, 16 * timestep)
            if restored:
                assert restored.learn(replay, 16 * timestep) == metrics
        if timestep in (100, 420):
            restored = FqiLearner(context, settings)
            restored.restore(one.state())
    assert restored.finish(replay, 11_200) == one.finish(replay, 11_200) != {}
    assert one.num_fits == restored.num_fits == 7
    assert one.state().keys() == restored.state().keys()
    for name, value in one.state().items():
        np.testing.assert_array_equal(restored.state()[name], value)
    np.testing.assert_array_equal(one.head.kernel, restored.head.kernel)


@pytest.mark.parametrize(("num_envs", "length"), [(1, 2), (1, 3), (1, 40), (2, 70), (16, 200)])
@pytest.mark.parametrize("double", [False, True])
def test_replays_of_any_size_are_fitted(num_envs, length, double):
    context = LearnerContext(pixel_features(3), 2, num_envs, 0.9, 1, True, 1, 0, ATARI)
    one = FqiLearner(context, FqiSettings(sweeps=2, double=double))
    replay = Replay(500, num_envs, FeatureBuffer(500, num_envs, 3), n_step=1, discount=0.9)
    random = np.random.default_rng(0)
    for _ in range(length):
        replay.add(
            random.normal(size=(num_envs, 3)), random.integers(2, size=num_envs),
            np.ones(num_envs), random.random(num_envs) < 0.1, np.zeros(num_envs, bool),
        )  # fmt: skip
    metrics = one.finish(replay, 1_000)
    assert all(np.isfinite(value) for value in metrics.values())
    assert one.num_fits == 1


def test_a_fifth_of_the_replay_is_held_out_in_groups_of_64_timesteps():
    one = FqiLearner(CONTEXT._replace(num_envs=16), FqiSettings(double=True))
    half, _ = one._split(0, np.zeros((1280, 16), bool))
    groups = half.reshape(20, 64, 16)
    assert (groups == groups[:, :1]).all()
    shares = [np.mean(half == part) for part in (HELD_OUT, 0, 1)]
    np.testing.assert_allclose(shares, [0.2, 0.4, 0.4], atol=0.07)
    later, _ = one._split(640, np.zeros((1280, 16), bool))
    np.testing.assert_array_equal(later[:640], half[640:])


def test_a_replay_of_few_groups_is_split_by_groups_too():
    one = FqiLearner(CONTEXT._replace(num_envs=1, seed=2), FqiSettings(double=True))
    half, moments = one._split(0, np.zeros((16 * 64, 1), bool))
    expected = np.array([HELD_OUT, 0, 1, 0, 1])[np.arange(16) % 5]
    np.testing.assert_array_equal(half, expected.repeat(64)[:, None])
    assert moments is not one._moments  # those of later fits, which split otherwise
    # Two timesteps of two environments: two groups, so timesteps.
    two = FqiLearner(CONTEXT._replace(num_envs=2, seed=2), FqiSettings())
    half, _ = two._split(0, np.zeros((2, 2), bool))
    np.testing.assert_array_equal(half, [[HELD_OUT] * 2, [0] * 2])


def test_a_learners_fit_is_that_of_its_plan():
    random = np.random.default_rng(0)
    replay = Replay(300, 4, FeatureBuffer(300, 4, 3), n_step=3, discount=0.8)
    for _ in range(280):
        replay.add(
            random.normal(size=(4, 3)), random.integers(2, size=4),
            np.clip(random.normal(size=4), -1, 1), random.random(4) < 0.1, np.zeros(4, bool),
        )  # fmt: skip
    context = LearnerContext(pixel_features(3), 2, 4, 0.8, 3, True, 1, 0, ATARI)
    one = FqiLearner(context, FqiSettings(sweeps=4, max_residual=0.7, prior="previous"))
    one.finish(replay, 1_120)
    rows = replay.rows(0)
    half, _ = one._split(0, rows["truncated"])
    plan = Plan(4, "monte_carlo", "previous", 0.7, discount=0.8, n_step=3, bound=5.0)
    fit = fit_fqi(FitRows(rows, half, 2, ReplayMoments(2, 3, 4), 0), plan, None)
    np.testing.assert_allclose(one.head.kernel, fit.heads.kernel[0], rtol=1e-6)
    np.testing.assert_allclose(one.head.bias, fit.heads.bias[0], rtol=1e-6)
