"""Environments side by side under an epsilon-greedy linear policy on frozen features."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.envs.atari import AtariEnvs
from pvn.evaluation.dqn import Head, action_values
from pvn.evaluation.learners import Learner
from pvn.evaluation.replay import FeatureReplay
from pvn.features import Features

Act = Callable[[Head, np.ndarray], tuple[jax.Array, jax.Array]]


class Moment(NamedTuple):
    """One time step of E environments."""

    features: np.ndarray | None  # float32 [E, F] of what was acted on; None: no features asked for
    action: np.ndarray  # int32 [E]
    reward: np.ndarray  # float32 [E], as the game gives it
    terminal: np.ndarray  # bool [E]
    truncated: np.ndarray  # bool [E]


class Episode(NamedTuple):
    """An episode that is over."""

    env: int
    score: float  # undiscounted sum of rewards as the game gives them
    length: int  # agent steps


def make_act(features: Features) -> Act:
    """(head, uint8 [E, 84, 84, 4]) -> (features [E, F], greedy actions [E]), in one dispatch."""
    device_params = jax.device_put(features.params)

    @jax.jit
    def act(params: object, head: Head, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = features.apply(params, observation)
        return x, jnp.argmax(action_values(head, x), axis=-1)

    return lambda head, observation: act(device_params, head, observation)


class Rollout:
    """Steps E environments and keeps score; ended ones start again at once."""

    def __init__(self, envs: AtariEnvs, act: Act | None, seed: int):
        """act: from `make_act`; None for uniformly random actions. seed: of games and actions."""
        self._envs, self._act = envs, act
        games, actions = np.random.SeedSequence(seed).spawn(2)
        self._random = np.random.default_rng(actions)
        self._score = np.zeros(envs.num_envs)
        self._length = np.zeros(envs.num_envs, np.int64)
        seeds = games.generate_state(envs.num_envs) >> 1  # the emulator takes 31 bits
        envs.reset(seeds.astype(np.int64), np.ones(envs.num_envs, bool))

    def step(self, head: Head | None, epsilon: float) -> tuple[Moment, list[Episode]]:
        """One time step: what happened, and the episodes that it ended."""
        envs = self._envs
        action = self._random.integers(envs.num_actions, size=envs.num_envs, dtype=np.int32)
        features = None
        if self._act is not None and head is not None:
            x, greedy = self._act(head, envs.observation)
            features = np.asarray(x)
            explore = self._random.random(envs.num_envs) < epsilon
            action = np.where(explore, action, np.asarray(greedy, np.int32))
        step = envs.step(action)
        self._score += step.reward
        self._length += 1
        ended = step.terminal | step.truncated
        episodes = [
            Episode(int(env), float(self._score[env]), int(self._length[env]))
            for env in np.flatnonzero(ended)
        ]
        if episodes:
            self._score[ended], self._length[ended] = 0, 0
            envs.restart(ended)
        return Moment(features, action, *step), episodes


def interact(
    rollout: Rollout,
    learner: Learner,
    replay: FeatureReplay,
    zeros: Head,
    *,
    num_steps: int,
    num_envs: int,
    epsilon: Callable[[int], float],
    clip_rewards: bool,
    report: Callable[[int, list[Episode]], object],
    stop: Callable[[], bool],
) -> int:
    """Plays and learns for `num_steps` agent steps. Returns the agent steps taken.

    Until there is a head, actions are uniformly random.

    Args:
      zeros: a head of the right shape, to get features with.
      epsilon: agent step -> probability of a random action.
      report: called with the agent step and the episodes that ended in it.
      stop: whether to end early; then no last fit is made.
    """
    agent_step = 0
    while agent_step + num_envs <= num_steps and not stop():
        agent_step += num_envs
        untrained = learner.head is None
        moment, episodes = rollout.step(
            learner.head or zeros, 1.0 if untrained else epsilon(agent_step)
        )
        assert moment.features is not None
        reward = np.clip(moment.reward, -1, 1) if clip_rewards else moment.reward
        replay.add(moment.features, moment.action, reward, moment.terminal, moment.truncated)
        if replay.has_starts:
            learner.learn(replay, agent_step)
        report(agent_step, episodes)
    if not stop():
        learner.finish(replay, agent_step)
    return agent_step


def play(
    rollout: Rollout,
    head: Head | None,
    *,
    num_envs: int,
    num_episodes: int,
    epsilon: float,
    report: Callable[[Episode], object],
    stop: Callable[[], bool],
) -> None:
    """Plays `num_episodes` episodes, the first ones of each environment.

    Which episodes count is fixed beforehand: the first to end would be the short ones.
    """
    quota = np.full(num_envs, num_episodes // num_envs)
    quota[: num_episodes % num_envs] += 1
    while quota.any() and not stop():
        for episode in rollout.step(head, epsilon)[1]:
            if quota[episode.env]:
                quota[episode.env] -= 1
                report(episode)
