import numpy as np
import pytest

from pvn.envs.atari import AtariEnvs, TimeStep
from pvn.evaluation.rollout import Episode, Rollout


class ScriptedEnvs:
    """In place of the emulator. Environment e's episodes last e + 2 steps and end as scripted;

    its rewards are 10^e at each step, and its observation spells (episode, step, e).
    """

    num_actions = 5

    def __init__(self, num_envs, ends):
        self.num_envs, self._ends = num_envs, ends
        self.seeds, self.actions = [], []
        self._episode = np.full(num_envs, -1)
        self._step = np.zeros(num_envs, int)
        self._over = np.ones(num_envs, bool)

    @property
    def observation(self):
        return np.stack([self._episode, self._step, np.arange(self.num_envs)], axis=1)

    def reset(self, seeds, where):
        assert where.all()
        self.seeds.append(seeds.tolist())
        self.restart(where)

    def restart(self, where):
        assert self._over[where].all()  # none is torn out of an episode
        self._episode[where] += 1
        self._step[where], self._over[where] = 0, False

    def step(self, action):
        assert not self._over.any()  # an ended one must have been restarted
        self.actions.append(action.tolist())
        self._step += 1
        self._over = self._step == np.arange(self.num_envs) + 2
        truncated = np.array(self._ends) == "truncated"
        reward = (10.0 ** np.arange(self.num_envs)).astype(np.float32)
        return TimeStep(reward, self._over & ~truncated, self._over & truncated)


def assert_episodes_are_sums(played):
    """Each episode's score and length are what its environment's moments add up to."""
    num_envs = len(played[0][0].reward)
    score, length = [0.0] * num_envs, [0] * num_envs
    count = 0
    for moment, episodes in played:
        expected = []
        for env in range(num_envs):
            score[env] += float(moment.reward[env])
            length[env] += 1
            if moment.terminal[env] or moment.truncated[env]:
                expected.append(Episode(env, score[env], length[env]))
                score[env], length[env] = 0.0, 0
        assert episodes == expected
        count += len(expected)
    return count


def test_scripted_episodes():
    envs = ScriptedEnvs(3, ["terminal", "truncated", "terminal"])
    rollout = Rollout(envs, None, seed=0)
    played = [rollout.step(None, 0.0) for _ in range(12)]
    # Lengths 2, 3, 4, rewards 1, 10, 100 a step.
    first, second, third = Episode(0, 2, 2), Episode(1, 30, 3), Episode(2, 400, 4)
    by_step = [[], [first], [second], [first, third], [], [first, second]]
    by_step += [[], [first, third], [second], [first], [], [first, second, third]]
    assert [episodes for _, episodes in played] == by_step
    assert assert_episodes_are_sums(played) == 6 + 4 + 3
    for number, (moment, _) in enumerate(played, 1):
        assert moment.features is None
        assert moment.action.tolist() == envs.actions[number - 1]
        assert moment.reward.tolist() == [1, 10, 100]
        assert moment.terminal.tolist() == [number % 2 == 0, False, number % 4 == 0]
        assert moment.truncated.tolist() == [False, number % 3 == 0, False]


def test_random_play_on_the_emulator():
    def play(seed):
        rollout = Rollout(AtariEnvs("Breakout", 2), None, seed=seed)
        return [rollout.step(None, 0.0) for _ in range(400)]

    played = play(3)
    assert assert_episodes_are_sums(played) >= 2
    assert sum(episode.score for _, episodes in played for episode in episodes) > 0
    for moment, _ in played:
        assert moment.features is None
        assert moment.action.dtype == np.int32
    # A function of the seed: of the actions and of the games.
    again = play(3)
    assert [episodes for _, episodes in again] == [episodes for _, episodes in played]
    for (one, _), (other, _) in zip(played, again, strict=True):
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.reward, other.reward)


def test_random_actions_are_uniform_and_seeded():
    def actions(seed):
        envs = ScriptedEnvs(4, ["terminal"] * 4)
        rollout = Rollout(envs, None, seed=seed)
        for _ in range(2500):
            rollout.step(None, 0.0)
        return np.array(envs.actions), envs.seeds

    taken, games = actions(0)
    counts = np.bincount(taken.ravel(), minlength=5)
    # Chi-square with 4 degrees of freedom: 18.5 is exceeded once in 1,000 seeds.
    assert np.sum(np.square(counts - 2000) / 2000) < 18.5
    # Environments do not copy each other: the same action by chance, one time in five.
    same = np.mean(taken[:, 0] == taken[:, 1])
    assert abs(same - 0.2) < 0.04
    [seeds] = games
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    np.testing.assert_array_equal(actions(0)[0], taken)
    assert actions(0)[1] == games
    assert (actions(1)[0] != taken).any()
    assert actions(1)[1] != games


@pytest.mark.parametrize("epsilon", [0.0, 0.25, 1.0])
def test_epsilon_greedy(epsilon):
    # The head's action is 4, and features are the observation, of before the step.
    def act(head, observation):
        assert head == "head"
        return observation.astype(np.float32), np.full(len(observation), 4)

    envs = ScriptedEnvs(2, ["terminal", "terminal"])
    rollout = Rollout(envs, act, seed=0)
    taken = []
    for number in range(2000):
        moment, _ = rollout.step("head", epsilon)
        assert moment.features.dtype == np.float32
        assert moment.features.tolist() == [
            [number // length, number % length, env] for env, length in enumerate((2, 3))
        ]
        assert moment.action.dtype == np.int32
        taken.append(moment.action)
    assert np.array_equal(taken, envs.actions)
    # A random action is the greedy one in one case of five. Five standard deviations.
    expected = 1 - epsilon * 4 / 5
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert abs(np.mean(np.array(taken) == 4) - expected) <= 5 * error


def test_without_a_head_play_is_random_even_with_features():
    envs = ScriptedEnvs(2, ["terminal", "terminal"])
    rollout = Rollout(envs, lambda head, observation: pytest.fail("asked to act"), seed=0)
    moments = [rollout.step(None, 0.0)[0] for _ in range(50)]
    assert all(moment.features is None for moment in moments)
    assert len({int(action) for moment in moments for action in moment.action}) == 5
