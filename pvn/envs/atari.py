"""The Atari 2600 behind one small interface, played under `pvn.envs.protocol`.

The defaults of `AtariVectorEnv` differ from that protocol in sticky actions, no-op starts, FIRE and
reward clipping, so all of it is given explicitly.
"""

from typing import NamedTuple

import ale_py
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from pvn.envs.games import find_game
from pvn.envs.protocol import PROTOCOL as PROTOCOL


class TimeStep(NamedTuple):
    """The outcome of one step of E environments."""

    reward: np.ndarray  # float32 [E], as the game gives it
    terminal: np.ndarray  # bool [E], the game is over
    truncated: np.ndarray  # bool [E], cut by the time limit; never together with terminal


class AtariEnvs:
    """E emulators in step, on the emulator's own thread pool.

    The caller must restart an ended environment before the next step. The next episode then begins
    at once. So the emulator's autoreset never happens, whose fake step would have to be masked out
    of data, replay and counts.
    """

    def __init__(self, game: str, num_envs: int):
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._envs = AtariVectorEnv(find_game(game).rom_id, num_envs, **PROTOCOL)
        self.num_envs = num_envs
        self.num_actions = len(self._envs.ale.get_action_set())
        self._stacks = np.zeros((num_envs, 4, 84, 84), np.uint8)

    @property
    def observation(self) -> np.ndarray:
        """uint8 [E, 84, 84, 4], newest frame last. Of an ended environment, its last one."""
        return np.moveaxis(self._stacks, 1, -1)

    @property
    def frame(self) -> np.ndarray:
        """uint8 [E, 84, 84], the newest frame of each observation."""
        return self._stacks[:, -1]

    def reset(self, seeds: np.ndarray, where: np.ndarray) -> None:
        """Boots the emulators of `where` (bool [E]) anew, each with its seed: about 0.1 s each.

        What follows is a function of the seed and the actions alone, whatever ran before.
        seeds: int [number of True in where], below 2**31.
        """
        self._stacks, _ = self._envs.reset(seed=seeds, options=self._mask(where))

    def restart(self, where: np.ndarray) -> None:
        """Begins new episodes in the environments of `where` (bool [E]): about 5 ms each."""
        self._stacks, _ = self._envs.reset(options=self._mask(where))

    def step(self, action: np.ndarray) -> TimeStep:
        """Takes one action [E] in each environment. Ended ones must be restarted before."""
        self._stacks, reward, terminal, truncated, _ = self._envs.step(action.astype(np.int64))
        return TimeStep(reward.astype(np.float32), terminal, truncated & ~terminal)

    def _mask(self, where: np.ndarray) -> dict[str, np.ndarray]:
        return {"reset_mask": np.asarray(where, bool)}
