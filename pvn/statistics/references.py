"""Reference returns of a random policy and of a human for each game, and normalised scores."""

import csv
import functools
from pathlib import Path

_FILE = Path(__file__).with_name("atari_scores.csv")


@functools.cache
def reference_scores() -> dict[str, tuple[float, float]]:
    """{game: (return of a random policy, return of a human)} for 57 games.

    The returns were measured with 30 no-op starts and without sticky actions.
    """
    with _FILE.open(newline="", encoding="utf-8") as file:
        return {
            row["name"]: (float(row["random"]), float(row["human"])) for row in csv.DictReader(file)
        }


def human_normalised(episode_return: float, game: str) -> float | None:
    """(return - random) / (human - random), or None if the game has no reference.

    0 is the score of random play, 1 that of a human. The score is approximate. The references were
    measured with 30 no-op starts and without sticky actions, but our protocol has sticky actions
    and no no-op starts. There are no references for our protocol.
    """
    if game not in reference_scores():
        return None
    random, human = reference_scores()[game]
    return (episode_return - random) / (human - random)
