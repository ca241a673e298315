"""Plays E environments in parallel with an epsilon-greedy policy."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pvn.envs.environment import Environments
from pvn.errors import UserError
from pvn.evaluation.learner import Acted, Learner
from pvn.evaluation.replay import Replay
from pvn.evaluation.state import State, generator_state, restore_generator

Act = Callable[[np.ndarray], Acted]
"""Observations uint8 [E, H, W, C] -> features and greedy actions."""


class PlayedStep(NamedTuple):
    """One timestep of E environments."""

    frame: np.ndarray  # uint8 [E, *frame], the newest frame before the action
    action: np.ndarray  # int32 [E]
    reward: np.ndarray  # float32 [E], not clipped
    terminal: np.ndarray  # bool [E]
    truncated: np.ndarray  # bool [E]


class PlayedEpisode(NamedTuple):
    """An episode that has ended."""

    env: int
    episode_return: float  # sum of rewards, undiscounted and not clipped
    length: int  # agent steps


class Progress(NamedTuple):
    """The outcome of one timestep of `interact`."""

    agent_step: int  # agent steps so far, summed over environments
    step: PlayedStep | None  # None after the last fit
    episodes: list[PlayedEpisode]  # the episodes that ended at this timestep
    learned_at: int  # agent steps behind `metrics`: those before this timestep
    metrics: Mapping[str, float]  # of the learner; may be empty


class Rollout:
    """Steps E environments, sums their rewards, and restarts an environment when it ends.

    The emulators cannot save their state. It depends only on the seed and on the actions since the
    boot, so the actions are recorded, and `restore` repeats them.
    """

    def __init__(self, envs: Environments, seed: int):
        """Boots the emulators.

        Args:
          envs: the environments; this object resets them.
          seed: seed of the emulators and of the random actions.
        """
        self._envs = envs
        self.num_envs = envs.num_envs
        games, actions = np.random.SeedSequence(seed).spawn(2)
        self._random = np.random.default_rng(actions)
        self._return = np.zeros(envs.num_envs)
        self._length = np.zeros(envs.num_envs, np.int64)
        self.num_episodes = np.zeros(envs.num_envs, np.int64)  # that ended in each environment
        self.episodes: list[PlayedEpisode] = []  # that ended since the boot
        self._actions: list[np.ndarray] = []  # of each timestep since the boot
        self.seeds = (games.generate_state(envs.num_envs) >> 1).astype(np.int64)  # 31 bits
        envs.reset(self.seeds, np.ones(envs.num_envs, bool))

    @property
    def agent_step(self) -> int:
        """Number of agent steps since the boot, summed over environments."""
        return len(self._actions) * self.num_envs

    @property
    def longest(self) -> int:
        """Agent steps of the longest episode that is running."""
        return int(self._length.max())

    @property
    def actions(self) -> np.ndarray:
        """The actions of all timesteps since the boot, int32 [timesteps, E]."""
        return np.array(self._actions, np.int32).reshape(-1, self.num_envs)

    def state(self) -> State:
        """The recorded actions, the state of the random actions, and what the emulators show.

        The actions have the smallest integer type.
        """
        smallest = np.min_scalar_type(self._envs.num_actions - 1)
        observation = self._envs.observation.tobytes()
        return {
            "actions": np.array(self._actions, smallest).reshape(-1, self.num_envs),
            "random": generator_state(self._random),
            "return": self._return.copy(),
            "length": self._length.copy(),
            "num_episodes": self.num_episodes.copy(),
            "observation_sha256": np.array(hashlib.sha256(observation).hexdigest()),
        }

    def restore(self, state: State) -> Iterator[PlayedStep]:
        """Puts a new rollout of the same seed into the state that `state` returned.

        Repeats the actions, and yields every timestep. The state is restored when the
        iteration is complete.

        Raises:
          UserError: the emulators do not show the same as before.
        """
        for action in state["actions"]:
            yield self.take(action.astype(np.int32))[0]
        restore_generator(self._random, state["random"])
        found = self.state()
        if differ := [name for name in state if not np.array_equal(found[name], state[name])]:
            raise UserError(
                f"emulators: the same {len(self._actions):,} timesteps as before the interruption "
                f"gave another {differ[0]}, expected the same; is ale-py another version? "
                "--overwrite starts the evaluation anew"
            )

    @property
    def observation(self) -> np.ndarray:
        """uint8 [E, H, W, C], before the next action."""
        return self._envs.observation

    def choose(self, act: Act | None, epsilon: float) -> tuple[np.ndarray, Acted | None]:
        """Returns epsilon-greedy actions int32 [E], and the result of `act`.

        act: None for uniformly random actions.

        Raises:
          UserError: a feature is NaN or infinite.
        """
        envs = self._envs
        action = self._random.integers(envs.num_actions, size=envs.num_envs, dtype=np.int32)
        if act is None:
            return action, None
        acted = act(envs.observation)
        timestep = len(self._actions) + 1
        check_finite(acted.features, lambda env: f"environment {env} at timestep {timestep:,}")
        explore = self._random.random(envs.num_envs) < epsilon
        return np.where(explore, action, acted.greedy), acted

    def take(self, action: np.ndarray) -> tuple[PlayedStep, list[PlayedEpisode]]:
        """Takes the actions, int32 [E]; restarts the environments that ended.

        Returns the timestep and the episodes that ended at it.
        """
        frame = self._envs.frame.copy()  # the emulators may write over it
        step = self._envs.step(action)
        self._actions.append(action)
        self._return += step.reward
        self._length += 1
        ended = step.terminal | step.truncated
        episodes = [
            PlayedEpisode(int(env), float(self._return[env]), int(self._length[env]))
            for env in np.flatnonzero(ended)
        ]
        if episodes:
            self._return[ended], self._length[ended] = 0, 0
            self.num_episodes[ended] += 1
            self.episodes += episodes
            self._envs.restart(ended)
        return PlayedStep(frame, action, *step), episodes


def check_finite(features: np.ndarray, place: Callable[[int], str]) -> None:
    """Raises `UserError` if any of the features [B, F] is NaN or infinite.

    place: the index of an observation -> where it comes from, for the message.
    """
    finite = np.isfinite(features)
    if not finite.all():
        index = int(np.argmin(finite.all(axis=1)))
        count = int(np.sum(~finite[index]))
        raise UserError(
            f"features: {count} of {features.shape[1]} are not finite (NaN or infinity) for "
            f"the observation of {place(index)}; expected finite features of every observation"
        )


def interact(
    rollout: Rollout,
    learner: Learner,
    replay: Replay,
    *,
    num_steps: int,
    epsilon: Callable[[int], float],
    clip_rewards: bool,
) -> Iterator[Progress]:
    """Plays and learns until `num_steps` agent steps; yields after every timestep.

    Steps that the rollout has already played count: it may be a restored one.
    `num_steps` is rounded down to whole timesteps of E agent steps. Actions are uniformly random
    until the learner's first fit. A timestep's updates are dispatched before the emulators step,
    so that both run at the same time. The learner makes its last fit after the last timestep; its
    metrics, if any, are yielded last. If the caller stops iterating earlier, there is no last fit.

    Args:
      epsilon: agent step -> probability of a random action.
      clip_rewards: whether rewards are clipped to [-1, 1] in the replay.

    Raises:
      UserError: a feature is NaN or infinite, or the learner cannot continue.
    """
    agent_step = rollout.agent_step
    while agent_step + rollout.num_envs <= num_steps:
        explore = epsilon(agent_step) if learner.num_fits else 1.0
        action, acted = rollout.choose(learner.act, explore)
        assert acted is not None
        state = learner.to_keep(rollout.observation, acted)
        metrics = learner.learn(replay, agent_step) if replay.has_starts else {}
        step, episodes = rollout.take(action)
        remember(replay, state, step, clip_rewards)
        learned_at, agent_step = agent_step, agent_step + rollout.num_envs
        yield Progress(agent_step, step, episodes, learned_at, metrics)
    if metrics := learner.finish(replay, agent_step):
        yield Progress(agent_step, None, [], agent_step, metrics)


def remember(replay: Replay, state: np.ndarray, step: PlayedStep, clip_rewards: bool) -> None:
    """Adds a timestep to the replay. state: [E, ...], what the replay keeps of it."""
    reward = np.clip(step.reward, -1, 1) if clip_rewards else step.reward
    replay.add(state, step.action, reward, step.terminal, step.truncated)


def play(
    rollout: Rollout, act: Act | None, *, num_episodes: int, epsilon: float
) -> Iterator[list[PlayedEpisode]]:
    """Plays `num_episodes` episodes, the first ones of each environment since the boot.

    Episodes that the rollout has already played count: it may be a restored one.
    After every timestep, yields the counted episodes that ended at it. The list is often empty; it
    lets the caller stop at any timestep. The number of episodes of each environment is fixed in
    advance: to count the first episodes that end would favour short episodes.

    Args:
      act: None for uniformly random actions.
      epsilon: probability of a random action.

    Raises:
      UserError: a feature is NaN or infinite.
    """
    quota = _quota(rollout, num_episodes)
    while (unfinished := rollout.num_episodes < quota).any():
        _, episodes = rollout.take(rollout.choose(act, epsilon)[0])
        yield [episode for episode in episodes if unfinished[episode.env]]


def counted_episodes(rollout: Rollout, num_episodes: int) -> list[PlayedEpisode]:
    """The episodes that `play` has counted, in the order in which they ended."""
    left = _quota(rollout, num_episodes)
    counted = []
    for episode in rollout.episodes:
        left[episode.env] -= 1
        if left[episode.env] >= 0:
            counted.append(episode)
    return counted


def _quota(rollout: Rollout, num_episodes: int) -> np.ndarray:
    """int64 [E]: how many episodes of each environment count."""
    quota = np.full(rollout.num_envs, num_episodes // rollout.num_envs)
    quota[: num_episodes % rollout.num_envs] += 1
    return quota
