from itertools import islice

import numpy as np
import pytest

from pvn.envs.atari import AtariEnvs
from pvn.envs.environment import TimeStep
from pvn.errors import UserError
from pvn.evaluation.learner import Acted
from pvn.evaluation.replay import FeatureBuffer, Replay
from pvn.evaluation.rollout import (
    PlayedEpisode,
    Rollout,
    check_finite,
    counted_episodes,
    interact,
    play,
)


class ScriptedEnvs:
    """Replaces the emulator. Episodes of environment e last e + 2 steps and end as scripted.

    The reward of each step is 10^e. The observation is (episode, step, e).
    """

    num_actions = 5

    def __init__(self, num_envs, ends):
        self.num_envs, self._ends = num_envs, ends
        self.seeds, self.actions = [], []
        self._episode = np.full(num_envs, -1)
        self._step = np.zeros(num_envs, int)
        self._over = np.ones(num_envs, bool)

    @property
    def frame(self):
        return self.observation

    @property
    def observation(self):
        return np.stack([self._episode, self._step, np.arange(self.num_envs)], axis=1)

    def reset(self, seeds, where):
        assert where.all()
        self.seeds.append(seeds.tolist())
        self.restart(where)

    def restart(self, where):
        assert self._over[where].all()  # no running episode is restarted
        self._episode[where] += 1
        self._step[where], self._over[where] = 0, False

    def step(self, action):
        assert not self._over.any()  # every environment that ended was restarted
        self.actions.append(action.tolist())
        self._step += 1
        self._over = self._step == np.arange(self.num_envs) + 2
        truncated = np.array(self._ends) == "truncated"
        reward = (10.0 ** np.arange(self.num_envs)).astype(np.float32)
        return TimeStep(reward, self._over & ~truncated, self._over & truncated)


def play_step(rollout, act, epsilon):
    return rollout.take(rollout.choose(act, epsilon)[0])


def assert_episodes_are_sums(played):
    """The return and length of each episode are sums over the steps of its environment."""
    num_envs = len(played[0][0].reward)
    returns, length = [0.0] * num_envs, [0] * num_envs
    count = 0
    for step, episodes in played:
        expected = []
        for env in range(num_envs):
            returns[env] += float(step.reward[env])
            length[env] += 1
            if step.terminal[env] or step.truncated[env]:
                expected.append(PlayedEpisode(env, returns[env], length[env]))
                returns[env], length[env] = 0.0, 0
        assert episodes == expected
        count += len(expected)
    return count


def test_scripted_episodes():
    envs = ScriptedEnvs(3, ["terminal", "truncated", "terminal"])
    rollout = Rollout(envs, seed=0)
    played = [play_step(rollout, None, 0.0) for _ in range(12)]
    # Lengths are 2, 3 and 4; rewards of a step are 1, 10 and 100.
    first, second, third = PlayedEpisode(0, 2, 2), PlayedEpisode(1, 30, 3), PlayedEpisode(2, 400, 4)
    by_step = [[], [first], [second], [first, third], [], [first, second]]
    by_step += [[], [first, third], [second], [first], [], [first, second, third]]
    assert [episodes for _, episodes in played] == by_step
    assert assert_episodes_are_sums(played) == 6 + 4 + 3
    for number, (step, _) in enumerate(played, 1):
        assert step.action.tolist() == envs.actions[number - 1]
        assert step.reward.tolist() == [1, 10, 100]
        assert step.terminal.tolist() == [number % 2 == 0, False, number % 4 == 0]
        assert step.truncated.tolist() == [False, number % 3 == 0, False]


def test_random_play_on_the_emulator():
    def play(seed):
        rollout = Rollout(AtariEnvs("Breakout", 2), seed=seed)
        return [play_step(rollout, None, 0.0) for _ in range(400)]

    played = play(3)
    assert assert_episodes_are_sums(played) >= 2
    assert sum(episode.episode_return for _, episodes in played for episode in episodes) > 0
    for step, _ in played:
        assert step.action.dtype == np.int32
    # Actions and games depend on the seed.
    again = play(3)
    assert [episodes for _, episodes in again] == [episodes for _, episodes in played]
    for (one, _), (other, _) in zip(played, again, strict=True):
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.reward, other.reward)


def test_random_actions_are_uniform_and_seeded():
    def actions(seed):
        envs = ScriptedEnvs(4, ["terminal"] * 4)
        rollout = Rollout(envs, seed=seed)
        for _ in range(2500):
            play_step(rollout, None, 0.0)
        return np.array(envs.actions), envs.seeds

    taken, games = actions(0)
    counts = np.bincount(taken.ravel(), minlength=5)
    # Chi-square with 4 degrees of freedom: 18.5 is exceeded once in 1,000 seeds.
    assert np.sum(np.square(counts - 2000) / 2000) < 18.5
    # Environments act independently: they take the same action in one of five cases.
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
    # The greedy action is 4. The features are those of the observation before the step.
    def act(observation):
        return Acted(observation.astype(np.float32), np.full(len(observation), 4, np.int32))

    envs = ScriptedEnvs(2, ["terminal", "terminal"])
    rollout = Rollout(envs, seed=0)
    taken = []
    for number in range(2000):
        action, acted = rollout.choose(act, epsilon)
        step, _ = rollout.take(action)
        state = acted.features
        assert state.dtype == np.float32
        seen = [[number // length, number % length, env] for env, length in enumerate((2, 3))]
        assert state.tolist() == step.frame.tolist() == seen
        assert step.action.dtype == np.int32
        taken.append(step.action)
    assert np.array_equal(taken, envs.actions)
    # A random action equals the greedy one in one of five cases. Bound: 5 standard deviations.
    expected = 1 - epsilon * 4 / 5
    error = np.sqrt(expected * (1 - expected) / 4000)
    assert abs(np.mean(np.array(taken) == 4) - expected) <= 5 * error


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(value):
    features = np.ones((3, 4), np.float32)
    features[1, :2] = value
    with pytest.raises(UserError) as raised:
        check_finite(features, lambda env: f"environment {env} at timestep 9")
    assert str(raised.value).startswith(
        "features: 2 of 4 are not finite (NaN or infinity) for the observation of environment 1 at "
        "timestep 9;"
    )


def test_large_features_are_finite():
    check_finite(np.full((3, 4), 3e38, np.float32), str)


def test_no_timestep_is_played_on_features_that_are_not_finite():
    seen = []

    def act(observation):
        seen.append(observation)
        features = np.where(len(seen) == 3, np.nan, observation)
        return Acted(features, np.zeros(len(observation), np.int32))

    envs = ScriptedEnvs(2, ["terminal", "terminal"])
    rollout = Rollout(envs, seed=0)
    for _ in range(2):
        play_step(rollout, act, 0.0)
    with pytest.raises(UserError, match=r"3 of 3 are not finite .* environment 0 at timestep 3;"):
        play_step(rollout, act, 0.0)
    assert len(envs.actions) == 2


class ScriptedLearner:
    """Records its arguments. Its first fit is at agent step 8."""

    diverged_fits = 0

    def __init__(self, at_the_end):
        self.num_fits, self.calls, self._at_the_end = 0, [], at_the_end

    def act(self, observation):
        state = observation[:, :2].astype(np.float32)
        return Acted(state, np.full(len(observation), 4, np.int32))

    def to_keep(self, observation, acted):
        return acted.features

    def learn(self, replay, agent_step):
        self.calls.append((agent_step, len(replay)))
        self.num_fits += agent_step >= 8
        return {"loss": 1.0} if agent_step % 8 == 0 else {}

    def finish(self, replay, agent_step):
        self.calls.append(("finish", agent_step))
        return self._at_the_end


def empty_replay():
    return Replay(20, 2, FeatureBuffer(20, 2, 2), n_step=1, discount=0.9)


@pytest.mark.parametrize("at_the_end", [{}, {"r2": 0.5}])
def test_interaction(at_the_end):
    envs = ScriptedEnvs(2, ["terminal", "truncated"])
    learner = ScriptedLearner(at_the_end)
    replay = empty_replay()
    asked = []
    progress = list(
        interact(
            Rollout(envs, seed=0),
            learner,
            replay,
            num_steps=21,  # the eleventh timestep would be one agent step too many
            epsilon=lambda step: asked.append(step) or 0.0,
            clip_rewards=True,
        )
    )
    last = [(20, None, [], 20, at_the_end)] if at_the_end else []
    assert [each.agent_step for each in progress[:10]] == list(range(2, 22, 2))
    assert progress[10:] == last
    # `learn` is called before the timestep, with the agent steps that the replay holds.
    assert [bool(each.metrics) for each in progress[:10]] == [
        step % 8 == 0 and step > 0 for step in range(0, 20, 2)
    ]
    assert [each.learned_at for each in progress[:10]] == list(range(0, 20, 2))
    # Environment 0's episodes last 2 timesteps, environment 1's 3.
    assert [[episode.env for episode in each.episodes] for each in progress[:6]] == [
        [], [0], [1], [0], [], [0, 1],
    ]  # fmt: skip
    # One timestep holds no interaction, so `learn` is not called. `finish` is called at the end.
    expected = [(step, step) for step in range(4, 20, 2)]
    assert learner.calls == [*expected, ("finish", 20)]
    # Actions are random until the first fit at agent step 8, then the learner's action. That fit
    # is made while the emulators take the fifth timestep.
    assert asked == list(range(10, 20, 2))
    actions = np.array(envs.actions)
    assert (actions[5:] == 4).all()
    assert not (actions[:5] == 4).all()
    # Rewards are 1 and 10. They are clipped in the replay, but not in the episodes.
    assert set(replay.gather(*replay.starts()).r_t) == {1}
    assert {e.episode_return for each in progress for e in each.episodes} == {2, 30}


def test_interaction_that_is_stopped_makes_no_last_fit():
    learner = ScriptedLearner({"r2": 0.5})
    envs = ScriptedEnvs(2, ["terminal", "terminal"])
    steps = interact(
        Rollout(envs, seed=0),
        learner,
        empty_replay(),
        num_steps=20,
        epsilon=lambda step: 0.0,
        clip_rewards=False,
    )
    for progress in steps:
        if progress.agent_step == 20:
            break
    steps.close()
    assert learner.calls[-1] == (18, 18)


def test_play_counts_the_first_episodes_of_each_environment():
    envs = ScriptedEnvs(3, ["terminal", "truncated", "terminal"])
    rollout = Rollout(envs, seed=0)
    played = list(play(rollout, None, num_episodes=5, epsilon=0.0))
    # Two episodes of environments 0 and 1, one of environment 2; lengths 2, 3, 4.
    first, second, third = PlayedEpisode(0, 2, 2), PlayedEpisode(1, 30, 3), PlayedEpisode(2, 400, 4)
    assert played == [[], [first], [second], [first, third], [], [second]]
    assert counted_episodes(rollout, 5) == [first, second, first, third, second]
    assert counted_episodes(rollout, 4) == [first, second, first, third]
    assert len(rollout.episodes) == 6


def test_a_restored_rollout_goes_on_as_before():
    def act(observation):  # the actions depend on the pixels
        greedy = observation.reshape(2, -1).sum(axis=1, dtype=np.int64) % 4
        return Acted(np.zeros((2, 1), np.float32), greedy.astype(np.int32))

    def play_on(rollout):
        played = [play_step(rollout, act, 0.5) for _ in range(200)]
        return [[*step[1:], *episodes] for step, episodes in played]

    envs = AtariEnvs("Breakout", 2)
    rollout = Rollout(envs, seed=3)
    steps = [play_step(rollout, act, 0.5)[0] for _ in range(300)]
    state = rollout.state()
    assert state["actions"].dtype == np.uint8
    assert state["actions"].shape == (300, 2)
    assert state["num_episodes"].min() >= 1
    expected = play_on(rollout)

    other = Rollout(AtariEnvs("Breakout", 2), seed=3)
    np.testing.assert_equal(list(other.restore(state)), steps)
    assert other.agent_step == 600
    for name, value in state.items():
        np.testing.assert_array_equal(other.state()[name], value)
    np.testing.assert_equal(play_on(other), expected)
    np.testing.assert_equal(other.state(), rollout.state())

    # Games of another seed, as those of another emulator, are noticed.
    with pytest.raises(UserError, match=r"^emulators: the same 300 timesteps .* gave another "):
        list(Rollout(envs, seed=4).restore(state))


def test_another_last_observation_is_noticed():
    rollout = Rollout(ScriptedEnvs(2, ["terminal", "truncated"]), seed=0)
    play_step(rollout, None, 0.0)
    state = rollout.state()
    other = ScriptedEnvs(2, ["terminal", "truncated"])
    restoring = Rollout(other, seed=0).restore(state)
    next(restoring)
    other._episode += 1
    with pytest.raises(UserError, match="gave another observation_sha256, expected the same"):
        next(restoring)


@pytest.mark.parametrize("stop", range(7))
def test_play_of_a_restored_rollout_counts_the_remaining_episodes(stop):
    ends = ["terminal", "truncated", "terminal"]
    whole = list(play(Rollout(ScriptedEnvs(3, ends), seed=0), None, num_episodes=5, epsilon=0))
    rollout = Rollout(ScriptedEnvs(3, ends), seed=0)
    before = list(islice(play(rollout, None, num_episodes=5, epsilon=0), stop))
    other = Rollout(ScriptedEnvs(3, ends), seed=0)
    for _ in other.restore(rollout.state()):
        pass
    assert before + list(play(other, None, num_episodes=5, epsilon=0)) == whole
