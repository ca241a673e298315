import numpy as np
import pytest

from pvn.errors import UserError
from pvn.evaluation.held_out import choose_held_out, draw_groups
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.replay import Replay
from pvn.evaluation.successor import SuccessorLearner, SuccessorSettings, fit_reward
from pvn.features.successor import Task
from pvn.types import ATARI
from tests.evaluation.pixels import pixel_features


class Heads:
    """Three tasks: task t is on where pixel t of the newest frame is bright. A = 2, F = 3."""

    head_kernel = np.arange(18, dtype=np.float32).reshape(3, 3, 2)
    head_bias = np.array([[1.0, 2], [3, 4], [5, 7]], np.float32)
    discount = np.float32([0.9, 0.9, 0.9])

    def __init__(self, target_policy):
        self.task = Task("random_network", {}, [0.9], "td", target_policy)

    def cumulants(self, observation):
        return (observation[:, 0, :3, -1] > 127).astype(np.float32)


def learner(target_policy="uniform", **settings):
    features = pixel_features(3)
    features.__dict__["successor"] = Heads(
        target_policy
    )  # in place of those that are read from a directory
    context = LearnerContext(features, 2, 1, 0.9, settings.pop("n_step", 1), True, 50, 0, ATARI)
    return SuccessorLearner(context, SuccessorSettings(refit_every=100, **settings))


def test_a_reward_that_the_cumulants_express_is_recovered():
    random = np.random.default_rng(0)
    cumulants = (random.random((500, 4)) < 0.3).astype(np.float32)
    weight = np.array([2.0, -1, 0, 0.5])
    held_out = np.arange(500) % 5 == 0
    fit = fit_reward(cumulants, cumulants @ weight + 3, held_out)
    np.testing.assert_allclose(fit.weight, weight, atol=1e-5)
    assert fit.reward_r2 == pytest.approx(1, abs=1e-6)
    noise = random.normal(size=500)
    assert abs(fit_reward(cumulants, noise, held_out).reward_r2) < 0.05
    assert fit_reward(cumulants, np.zeros(500), held_out).reward_r2 == 0  # never a reward


@pytest.mark.parametrize("reward_of", ["state", "next_state"])
def test_the_head_is_the_weighted_sum_of_the_heads(reward_of):
    one = learner(reward_of=reward_of)
    random = np.random.default_rng(0)
    frames = random.integers(256, size=(401, 1, 84, 84, 1)).astype(np.uint8)
    on = (frames[:, 0, 0, :3, 0] > 127).astype(float)
    shown = on[1:] if reward_of == "next_state" else on[:-1]
    replay = Replay(400, 1, one.state_buffer(400, 1), n_step=1, discount=0.9)
    no = np.zeros(1, bool)
    for number in range(400):
        observation = np.repeat(frames[number], 4, axis=-1)
        kept = one.to_keep(observation, one.act(observation))
        assert kept.tolist() == [on[number].tolist()]
        ended = np.array([number % 50 == 49])
        reward = shown[number] @ [1.0, 0, -1]
        if ended and reward_of == "next_state":
            reward = 5.0  # says nothing about the next state, which is of another episode
        replay.add(kept, np.zeros(1), np.array([reward]), ended, no)
    assert one.learn(replay, 40) == {}
    assert one.learn(replay, 60)["reward_r2"] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(
        one.head.kernel, Heads.head_kernel[:, 0] - Heads.head_kernel[:, 2], atol=1e-3
    )
    np.testing.assert_allclose(one.head.bias, [-4, -5], atol=1e-3)
    assert one.learn(replay, 90) == {}
    assert one.finish(replay, 100)["penalty"] > 0
    assert one.finish(replay, 100) == {}
    other = learner(reward_of=reward_of)
    other.restore(one.state())
    assert (other.num_fits, other.state()["fits"].tolist()) == (2, one.state()["fits"].tolist())
    np.testing.assert_array_equal(other.head.kernel, one.head.kernel)


def test_several_rewards_in_one_are_refused():
    with pytest.raises(UserError, match=r"^config.n_step: 5, expected 1 with config.head=succ"):
        learner(n_step=5)


def test_values_of_several_policies_are_refused():
    with pytest.raises(UserError, match=r"^config.head: successor, .* target_policy=greedy, so"):
        learner("greedy")


def test_groups_are_held_out_as_a_whole():
    time, env = np.repeat(np.arange(640), 2), np.tile([0, 1], 640)
    held_out = choose_held_out(time, env, 2, seed=3, share=0.3)
    by_group = held_out.reshape(10, 64, 2)
    assert (by_group == by_group[:, :1]).all()
    assert 0.1 < held_out.mean() < 0.6
    # The same groups with more timesteps.
    longer = np.repeat(np.arange(700), 2), np.tile([0, 1], 700)
    assert choose_held_out(*longer, 2, seed=3, share=0.3)[:1280].tolist() == held_out.tolist()


def test_where_no_group_is_drawn_every_fifth_is_held_out():
    """Rows beside a held-out one have nearly its return: the penalty would be chosen too small."""
    assert not draw_groups(16, seed=2, share=0.2).any()
    time = np.arange(1_000)
    held_out = choose_held_out(time, np.zeros(1_000, int), 1, seed=2, share=0.2)
    assert np.flatnonzero(held_out).tolist() == np.flatnonzero(time // 64 % 5 == 0).tolist()
    # Fewer than five groups: every fifth row.
    few = choose_held_out(np.arange(10), np.zeros(10, int), 1, seed=2, share=0.2)
    assert few.tolist() == [True, False, False, False, False] * 2


def test_only_the_tasks_with_the_largest_discount_are_used():
    one = learner()
    one._successor.discount = np.float32([0.9, 0.5, 0.9])
    two = SuccessorLearner(one._context, SuccessorSettings(refit_every=100))
    frames = np.zeros((1, 84, 84, 4), np.uint8)
    frames[0, 0, :3, -1] = [255, 255, 0]
    kept = two.to_keep(frames, two.act(frames))
    assert kept.tolist() == [[1, 0]]
    replay = Replay(400, 1, two.state_buffer(400, 1), n_step=1, discount=0.9)
    on = np.random.default_rng(0).random((400, 2)) < 0.5
    no = np.zeros(1, bool)
    for row in on.astype(np.float32):
        replay.add(row[None], np.zeros(1), np.array([row @ [2, -1]]), no, no)
    two.finish(replay, 400)
    expected = 2 * Heads.head_kernel[:, 0] - Heads.head_kernel[:, 2]
    np.testing.assert_allclose(two.head.kernel, expected, atol=2e-2)
