"""A small interface to the Atari 2600 emulator, which runs under `pvn.envs.protocol`.

The defaults of `AtariVectorEnv` differ from the protocol in sticky actions, no-op starts, FIRE and
reward clipping. All options are therefore given explicitly.
"""

import ale_py
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from pvn.envs.environment import TimeStep
from pvn.envs.games import find_game
from pvn.envs.protocol import PROTOCOL


class AtariEnvs:
    """E emulators that take steps together, in the emulator's own thread pool.

    The caller must restart an environment whose episode ended before the next step. The next
    episode then begins immediately, and the emulator's autoreset never happens. An autoreset adds a
    fake step, which would have to be masked out of data, replay and counts.
    """

    def __init__(self, game: str, num_envs: int):
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._envs = AtariVectorEnv(find_game(game).rom_id, num_envs, **PROTOCOL)
        self.game, self.num_envs = game, num_envs
        self.num_actions = len(self._envs.ale.get_action_set())
        self._stacks = np.zeros((num_envs, 4, 84, 84), np.uint8)

    @property
    def observation(self) -> np.ndarray:
        """uint8 [E, 84, 84, 4], newest frame last.

        After the end of an episode, and before `restart`, it is the episode's last observation.
        """
        return np.moveaxis(self._stacks, 1, -1)

    @property
    def frame(self) -> np.ndarray:
        """uint8 [E, 84, 84], the newest frame of each observation."""
        return self._stacks[:, -1]

    def reset(self, seeds: np.ndarray, where: np.ndarray) -> None:
        """Boots emulators again, each with its own seed. It takes about 0.1 s each.

        All that follows depends only on the seed and the actions, not on earlier episodes.

        Args:
          seeds: int [number of True in `where`], below 2**31.
          where: bool [E], the emulators to boot.
        """
        self._stacks, _ = self._envs.reset(seed=seeds, options=self._mask(where))

    def restart(self, where: np.ndarray) -> None:
        """Begins a new episode where `where`, bool [E], is True. It takes about 5 ms each."""
        self._stacks, _ = self._envs.reset(options=self._mask(where))

    def step(self, action: np.ndarray) -> TimeStep:
        """Takes one action, int [E], in each environment. Every episode must be running."""
        self._stacks, reward, terminal, truncated, _ = self._envs.step(action.astype(np.int64))
        return TimeStep(reward.astype(np.float32), terminal, truncated & ~terminal)

    def _mask(self, where: np.ndarray) -> dict[str, np.ndarray]:
        return {"reset_mask": np.asarray(where, bool)}
