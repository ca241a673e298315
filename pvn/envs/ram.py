"""What the bytes of the RAM mean. It is read without starting the emulator.

ram.csv holds the bytes that Anand et al. annotate in "Unsupervised State Representation Learning in
Atari" (2019, arXiv 1906.08226; repository mila-iqia/atari-representation-learning): 22 games in the
paper, and BattleZone and Skiing in the repository. A list of bytes is numbered: `enemy_x_0`, ...
"""

import csv
import functools
from pathlib import Path

from pvn.errors import UserError


@functools.cache
def ram_variables() -> dict[str, dict[str, int]]:
    """The number of the byte, 0 to 127, of each variable of each annotated game."""
    found: dict[str, dict[str, int]] = {}
    with (Path(__file__).parent / "ram.csv").open() as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["game"], {})[row["variable"]] = int(row["byte"])
    return found


def find_variables(game: str) -> dict[str, int]:
    """The variables of a game, by name, with the numbers of their bytes.

    Raises:
      UserError: the game has no annotations. The message lists the games that have.
    """
    known = ram_variables()
    if game not in known:
        raise UserError(
            f"the RAM of {game} is not annotated (pvn/envs/ram.csv); annotated are "
            + ", ".join(sorted(known))
        )
    return known[game]
