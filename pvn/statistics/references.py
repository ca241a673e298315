"""The returns of a random policy and of a human, by game, and scores relative to them."""

import csv
import functools
from pathlib import Path

_FILE = Path(__file__).with_name("atari_scores.csv")


@functools.cache
def reference_scores() -> dict[str, tuple[float, float]]:
    """The returns of a random policy and of a human, {game: (random, human)}, 57 games.

    They were measured with 30 no-op starts and without sticky actions.
    """
    with _FILE.open(newline="", encoding="utf-8") as file:
        return {
            row["name"]: (float(row["random"]), float(row["human"])) for row in csv.DictReader(file)
        }


def human_normalised(episode_return: float, game: str) -> float | None:
    """(return - random) / (human - random): 0 is random play, 1 is a human's. None: no reference.

    Approximate: the reference was measured with 30 no-op starts and without sticky actions. The
    protocol here has sticky actions and no no-op starts. There is no such reference for it.
    """
    if game not in reference_scores():
        return None
    random, human = reference_scores()[game]
    return (episode_return - random) / (human - random)
