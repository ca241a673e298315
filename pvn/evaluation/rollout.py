"""Plays E environments in parallel with an epsilon-greedy linear policy on frozen features."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pvn.envs.atari import AtariEnvs, TimeStep
from pvn.errors import UserError
from pvn.evaluation.head import Act, LinearHead
from pvn.evaluation.learner import Learner
from pvn.evaluation.replay import FeatureReplay
from pvn.evaluation.state import State, generator_state, restore_generator


class PlayedStep(NamedTuple):
    """One timestep of E environments."""

    features: np.ndarray | None  # float32 [E, F], before the action; None: random play
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
    episodes: list[PlayedEpisode]  # the episodes that ended at this timestep
    metrics: Mapping[str, float]  # of the learner; may be empty


class Rollout:
    """Steps E environments, sums their rewards, and restarts an environment when it ends.

    The emulators cannot save their state. It depends only on the seed and on the actions since the
    boot, so the actions are recorded, and `restore` repeats them.
    """

    def __init__(self, envs: AtariEnvs, act: Act | None, seed: int):
        """Boots the emulators.

        Args:
          envs: the environments; this object resets them.
          act: from `make_act`; None for uniformly random actions.
          seed: seed of the emulators and of the random actions.
        """
        self._envs, self._act = envs, act
        self.num_envs = envs.num_envs
        games, actions = np.random.SeedSequence(seed).spawn(2)
        self._random = np.random.default_rng(actions)
        self._return = np.zeros(envs.num_envs)
        self._length = np.zeros(envs.num_envs, np.int64)
        self.num_episodes = np.zeros(envs.num_envs, np.int64)  # that ended in each environment
        self._actions: list[np.ndarray] = []  # of each timestep since the boot
        seeds = games.generate_state(envs.num_envs) >> 1  # the emulator takes 31 bits
        envs.reset(seeds.astype(np.int64), np.ones(envs.num_envs, bool))

    @property
    def agent_step(self) -> int:
        """Number of agent steps since the boot, summed over environments."""
        return len(self._actions) * self.num_envs

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

    def restore(self, state: State) -> Iterator[None]:
        """Puts a new rollout of the same seed into the state that `state` returned.

        Repeats the actions, and yields after every timestep. The state is restored when the
        iteration is complete.

        Raises:
          UserError: the emulators do not show the same as before.
        """
        for action in state["actions"]:
            self._play(action.astype(np.int32))
            yield
        restore_generator(self._random, state["random"])
        found = self.state()
        if differ := [name for name in state if not np.array_equal(found[name], state[name])]:
            raise UserError(
                f"emulators: the same {len(self._actions):,} timesteps as before the interruption "
                f"gave another {differ[0]}, expected the same; is ale-py another version? "
                "--overwrite starts the evaluation anew"
            )

    def step(
        self, head: LinearHead | None, epsilon: float
    ) -> tuple[PlayedStep, list[PlayedEpisode]]:
        """Plays one timestep. Returns the timestep and the episodes that ended at it.

        head: None for uniformly random actions.

        Raises:
          UserError: a feature is NaN or infinite.
        """
        envs = self._envs
        action = self._random.integers(envs.num_actions, size=envs.num_envs, dtype=np.int32)
        features = None
        if self._act is not None and head is not None:
            x, greedy = self._act(head, envs.observation)
            features = np.asarray(x)
            check_finite(features, len(self._actions) + 1)
            explore = self._random.random(envs.num_envs) < epsilon
            action = np.where(explore, action, np.asarray(greedy, np.int32))
        step, episodes = self._play(action)
        return PlayedStep(features, action, *step), episodes

    def _play(self, action: np.ndarray) -> tuple[TimeStep, list[PlayedEpisode]]:
        """Takes the actions, int32 [E]; restarts the environments that ended."""
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
            self._envs.restart(ended)
        return step, episodes


def check_finite(features: np.ndarray, timestep: int) -> None:
    """Raises `UserError` if any of the features [E, F] at this timestep is NaN or infinite."""
    finite = np.isfinite(features)
    if not finite.all():
        env = int(np.argmin(finite.all(axis=1)))
        count = int(np.sum(~finite[env]))
        raise UserError(
            f"features: {count} of {features.shape[1]} are not finite (NaN or infinity) for "
            f"the observation of environment {env} at timestep {timestep:,}; expected finite "
            "features of every observation"
        )


def interact(
    rollout: Rollout,
    learner: Learner,
    replay: FeatureReplay,
    *,
    num_steps: int,
    epsilon: Callable[[int], float],
    clip_rewards: bool,
) -> Iterator[Progress]:
    """Plays and learns until `num_steps` agent steps; yields after every timestep.

    Steps that the rollout has already played count: it may be a restored one.
    `num_steps` is rounded down to whole timesteps of E agent steps. Actions are uniformly random
    until the learner's first fit. The learner makes its last fit after the last timestep; its
    metrics, if any, are yielded last. If the caller stops iterating earlier, there is no last fit.

    Args:
      epsilon: agent step -> probability of a random action.
      clip_rewards: whether rewards are clipped to [-1, 1] in the replay.

    Raises:
      UserError: a feature is NaN or infinite, or the learner cannot continue.
    """
    agent_step = rollout.agent_step
    while agent_step + rollout.num_envs <= num_steps:
        agent_step += rollout.num_envs
        step, episodes = rollout.step(
            learner.head, epsilon(agent_step) if learner.num_fits else 1.0
        )
        assert step.features is not None
        reward = np.clip(step.reward, -1, 1) if clip_rewards else step.reward
        replay.add(step.features, step.action, reward, step.terminal, step.truncated)
        metrics = learner.learn(replay, agent_step) if replay.has_starts else {}
        yield Progress(agent_step, episodes, metrics)
    if metrics := learner.finish(replay, agent_step):
        yield Progress(agent_step, [], metrics)


def play(
    rollout: Rollout, head: LinearHead | None, *, num_episodes: int, epsilon: float
) -> Iterator[list[PlayedEpisode]]:
    """Plays `num_episodes` episodes, the first ones of each environment since the boot.

    Episodes that the rollout has already played count: it may be a restored one.
    After every timestep, yields the counted episodes that ended at it. The list is often empty; it
    lets the caller stop at any timestep. The number of episodes of each environment is fixed in
    advance: to count the first episodes that end would favour short episodes.

    Args:
      head: None for uniformly random actions.
      epsilon: probability of a random action.

    Raises:
      UserError: a feature is NaN or infinite.
    """
    quota = np.full(rollout.num_envs, num_episodes // rollout.num_envs)
    quota[: num_episodes % rollout.num_envs] += 1
    while (unfinished := rollout.num_episodes < quota).any():
        yield [episode for episode in rollout.step(head, epsilon)[1] if unfinished[episode.env]]
