"""The interface of E environments that take steps together, and what a game's name stands for."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from pvn.envs.games import find_game
from pvn.envs.protocol import MINATAR_PROTOCOL, PROTOCOL
from pvn.types import ATARI, ObservationSpec


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


def make_envs(game: str, num_envs: int) -> Environments:
    """E environments of a game: `Pong` of the Atari 2600, or `MinAtar/Breakout`.

    Raises:
      UserError: there is no such game.
    """
    if find_game(game).is_minatar:
        from pvn.envs.minatar import MinAtarEnvs

        return MinAtarEnvs(game, num_envs)
    from pvn.envs.atari import AtariEnvs  # starts the emulator

    return AtariEnvs(game, num_envs)


def observation_of_game(game: str) -> ObservationSpec:
    """What an observation of the game is.

    Raises:
      UserError: there is no such game.
    """
    if find_game(game).is_minatar:
        return ObservationSpec((10, 10, find_game(game).num_channels))
    return ATARI


def protocol_of(game: str) -> dict[str, Any]:
    """The protocol under which the game is played.

    Raises:
      UserError: there is no such game.
    """
    return MINATAR_PROTOCOL if find_game(game).is_minatar else PROTOCOL


def time_limit(game: str) -> int:
    """Agent steps after which an episode is truncated.

    Raises:
      UserError: there is no such game.
    """
    if find_game(game).is_minatar:
        return int(MINATAR_PROTOCOL["max_num_steps_per_episode"])
    return int(PROTOCOL["max_num_frames_per_episode"] // PROTOCOL["frameskip"])
