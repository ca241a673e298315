"""The Atari 2600 behind one small interface, with the protocol of the DQN replay data.

Machado et al., "Revisiting the Arcade Learning Environment" (2018), as Dopamine runs it: sticky
actions 0.25, minimal action set, four emulator frames an action, the maximum of the last two grey
frames, 84 x 84 by area interpolation, stacks of four with zeros before an episode's start, no
no-op starts, no FIRE on reset, a lost life is no end, and a cut after 108,000 emulator frames.
`AtariVectorEnv`'s own defaults differ in all of sticky actions, no-ops, FIRE and reward clipping.
"""

import difflib
from typing import Any, NamedTuple

import ale_py
import gymnasium
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from pvn.errors import UserError

PROTOCOL: dict[str, Any] = {
    "repeat_action_probability": 0.25,
    "full_action_space": False,
    "frameskip": 4,
    "maxpool": True,
    "grayscale": True,
    "img_height": 84,
    "img_width": 84,
    "stack_num": 4,
    "noop_max": 0,
    "use_fire_reset": False,
    "episodic_life": False,
    "reward_clipping": False,
    "max_num_frames_per_episode": 108_000,
}


class Step(NamedTuple):
    """What one step of E environments brought."""

    reward: np.ndarray  # float32 [E], as the game gives it
    terminal: np.ndarray  # bool [E], the game is over
    truncated: np.ndarray  # bool [E], cut by the time limit; never together with terminal


def rom_of(game: str) -> str:
    """The emulator's name of a game in gymnasium's spelling: `MsPacman` -> `ms_pacman`.

    Raises:
      UserError: there is no such game; the message offers the nearest names.
    """
    gymnasium.register_envs(ale_py)
    names = {
        spec.name: spec.kwargs["game"]
        for spec in gymnasium.registry.values()
        if spec.namespace == "ALE"
    }
    if game not in names:
        near = difflib.get_close_matches(game, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "an example is MsPacman"
        raise UserError(f"unknown game {game!r}; {hint}")
    return names[game]


class AtariEnvs:
    """E emulators in step, on the emulator's own thread pool.

    An ended environment must be restarted before the next step. It then begins the next episode
    at once: the emulator's autoreset, with its fake step that would have to be masked out of
    data, replay and counts, never comes to pass.
    """

    def __init__(self, game: str, num_envs: int):
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._envs = AtariVectorEnv(rom_of(game), num_envs, **PROTOCOL)
        self.num_envs = num_envs
        self.num_actions = len(self._envs.ale.get_action_set())
        self._stacks = np.zeros((num_envs, 4, 84, 84), np.uint8)

    @property
    def observation(self) -> np.ndarray:
        """uint8 [E, 84, 84, 4], newest frame last; after an end, the one it ended with."""
        return np.moveaxis(self._stacks, 1, -1)

    def reset(self, seeds: np.ndarray, where: np.ndarray) -> None:
        """Boots the emulators of `where` (bool [E]) anew, each with its seed: about 0.1 s each.

        What follows is a function of the seed and the actions alone, whatever ran before.
        seeds: int [number of True in where], below 2**31.
        """
        self._stacks, _ = self._envs.reset(seed=seeds, options=self._mask(where))

    def restart(self, where: np.ndarray) -> None:
        """New episodes in the environments of `where` (bool [E]): about 5 ms each."""
        self._stacks, _ = self._envs.reset(options=self._mask(where))

    def step(self, action: np.ndarray) -> Step:
        """Takes one action [E] in each environment. Ended ones must be restarted before."""
        self._stacks, reward, terminal, truncated, _ = self._envs.step(action.astype(np.int64))
        return Step(reward.astype(np.float32), terminal, truncated & ~terminal)

    def _mask(self, where: np.ndarray) -> dict[str, np.ndarray]:
        return {"reset_mask": np.asarray(where, bool)}
