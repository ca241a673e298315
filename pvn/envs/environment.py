"""The interface of E environments of one game that take steps together."""

from typing import NamedTuple, Protocol

import numpy as np


class TimeStep(NamedTuple):
    """The outcome of one step of E environments."""

    reward: np.ndarray  # float32 [E], not clipped
    terminal: np.ndarray  # bool [E], the game ended
    truncated: np.ndarray  # bool [E], the time limit ended the episode; never with terminal


class Environments(Protocol):
    """E environments of one game.

    The caller must restart an environment whose episode ended before the next step. All that
    follows a `reset` depends only on the seed and the actions.
    """

    game: str
    num_envs: int
    num_actions: int

    @property
    def observation(self) -> np.ndarray:
        """uint8 [E, H, W, C]. After the end of an episode, its last observation."""
        ...

    @property
    def frame(self) -> np.ndarray:
        """uint8 [E, *frame], the newest frame of each observation."""
        ...

    def reset(self, seeds: np.ndarray, where: np.ndarray) -> None:
        """Begins anew, each environment with its own seed.

        Args:
          seeds: int [number of True in `where`], below 2**31.
          where: bool [E].
        """
        ...

    def restart(self, where: np.ndarray) -> None:
        """Begins a new episode where `where`, bool [E], is True."""
        ...

    def step(self, action: np.ndarray) -> TimeStep:
        """Takes one action, int [E], in each environment. Every episode must be running."""
        ...
