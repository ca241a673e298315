"""The table of games. It is read without starting an emulator."""

import csv
import difflib
import functools
from pathlib import Path
from typing import NamedTuple

from pvn.errors import UserError


class Game(NamedTuple):
    """A game: a row of games.csv, or one of `MINATAR`."""

    name: str  # the name in gymnasium and in public datasets: MsPacman, MinAtar/Breakout
    rom_id: str  # the name in the emulator: ms_pacman
    num_actions: int  # size of the minimal action set
    num_channels: int = 0  # of an observation of MinAtar; 0: a game of the Atari 2600

    @property
    def is_minatar(self) -> bool:
        """Whether it is a game of MinAtar."""
        return self.num_channels > 0


MINATAR = tuple(
    Game(f"MinAtar/{name}", module, num_actions, num_channels)
    for name, module, num_actions, num_channels in (
        ("Asterix", "asterix", 5, 4),
        ("Breakout", "breakout", 3, 4),
        ("Freeway", "freeway", 3, 7),
        ("Seaquest", "seaquest", 6, 10),
        ("SpaceInvaders", "space_invaders", 4, 6),
    )
)


@functools.cache
def games() -> dict[str, Game]:
    """All games of the Atari 2600 by name."""
    with (Path(__file__).parent / "games.csv").open() as stream:
        return {
            row["name"]: Game(row["name"], row["rom_id"], int(row["num_actions"]))
            for row in csv.DictReader(stream)
        }


def find_game(name: str) -> Game:
    """The game of this name.

    Raises:
      UserError: there is no such game. The message offers the nearest names.
    """
    known = games() | {game.name: game for game in MINATAR}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "an example is MsPacman"
        raise UserError(f"unknown game {name!r}; {hint}")
    return known[name]
