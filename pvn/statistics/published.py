"""Published training returns of Dopamine's agents (see dopamine_curves.md)."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

WINDOW = 250_000
"""Agent steps of a window."""

PUBLISHED = {
    "dqn_adam": "Dopamine DQN (Adam)",
    "dqn_rmsprop": "Dopamine DQN (RMSProp)",
    "rainbow": "Dopamine Rainbow",
}
"""Name of a published agent -> its label."""

OTHER_SCREENS = frozenset(
    (
        *("Amidar", "Assault", "BankHeist", "BattleZone", "Berzerk", "Carnival", "Centipede"),
        *("DoubleDunk", "Gopher", "IceHockey", "Krull", "NameThisGame", "Pitfall"),
        *("Pooyan", "Riverraid", "RoadRunner", "Skiing", "Tennis", "Tutankham", "VideoPinball"),
        "WizardOfWor",
    )
)
"""Games whose ROM in the emulator package of that time, atari-py 0.2.6, shows other screens.

results/end_to_end/roms.py compares them with those of ale-py.
"""

_FILE = Path(__file__).with_name("dopamine_curves.csv")


class PublishedCurve(NamedTuple):
    """Training returns of one published agent in one game, for W windows of `WINDOW` steps."""

    game: str
    agent: str  # a name in `PUBLISHED`
    num_runs: int
    mean: np.ndarray  # [W], over runs, of the mean return of the window's training episodes
    deviation: np.ndarray  # [W], standard deviation over runs

    @property
    def agent_step(self) -> np.ndarray:
        """The middle of each window [W]."""
        return (np.arange(self.mean.size) + 0.5) * WINDOW


@functools.cache
def published_curves() -> dict[str, dict[str, PublishedCurve]]:
    """{game: {agent: curve}} for 60 games and the agents of `PUBLISHED`."""
    curves: dict[str, dict[str, PublishedCurve]] = {}
    with _FILE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            mean, deviation = (
                np.array([float(text) for name, text in row.items() if name.startswith(prefix)])
                for prefix in ("mean_", "sd_")
            )
            curve = PublishedCurve(row["game"], row["agent"], int(row["num_runs"]), mean, deviation)
            curves.setdefault(curve.game, {})[curve.agent] = curve
    return curves


def comparable(game: str, last_step: float) -> list[PublishedCurve]:
    """The published curves of a game, up to the last window whose middle is within `last_step`.

    Empty if training ended before the middle of the first window, or nothing is published.
    """
    found = []
    for agent in PUBLISHED:
        curve = published_curves().get(game, {}).get(agent)
        if curve is not None and (count := int(np.sum(curve.agent_step <= last_step))):
            found.append(curve._replace(mean=curve.mean[:count], deviation=curve.deviation[:count]))
    return found
