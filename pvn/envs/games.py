"""The table of games. It is read without starting the emulator."""

import csv
import difflib
import functools
from pathlib import Path
from typing import NamedTuple

from pvn.errors import UserError


class Game(NamedTuple):
    """One row of games.csv."""

    name: str  # the name in gymnasium and in public datasets: MsPacman
    rom_id: str  # the name in the emulator: ms_pacman
    num_actions: int  # size of the minimal action set


@functools.cache
def games() -> dict[str, Game]:
    """All games by name."""
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
    known = games()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "an example is MsPacman"
        raise UserError(f"unknown game {name!r}; {hint}")
    return known[name]
