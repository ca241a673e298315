"""What a game's name stands for: its environments, their observations and their protocol."""

from typing import Any

from pvn.envs.environment import Environments
from pvn.envs.games import find_game
from pvn.envs.protocol import MINATAR_PROTOCOL, PROTOCOL
from pvn.types import ATARI, ObservationSpec


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
