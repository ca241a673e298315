"""Our training returns in the windows for which returns are published."""

from collections.abc import Sequence
from typing import NamedTuple

from pvn.evaluation.records import EpisodeRow
from pvn.statistics.published import WINDOW, PublishedCurve, published_curves
from pvn.statistics.summary import Estimate, by_seed, estimate, grouped

COVERED = 0.9
"""A window counts if every run of ours has training episodes up to this share of it."""


class Window(NamedTuple):
    """One window of one head of one agent in one game."""

    game: str
    agent: str
    head: str
    number: int  # agent steps `number` * 250,000 to (`number` + 1) * 250,000
    ours: Estimate  # of the returns of the training episodes that ended in the window
    num_seeds: int
    published: dict[str, PublishedCurve]  # by agent; whole curves

    def deviations(self, agent: str) -> float | None:
        """How many published standard deviations we are above the published mean."""
        curve = self.published[agent]
        mean, deviation = float(curve.mean[self.number]), float(curve.deviation[self.number])
        return (self.ours.value - mean) / deviation if deviation else None


def windows(episodes: Sequence[EpisodeRow]) -> list[Window]:
    """The windows that our training covers, in the order of the report."""
    found = []
    for (game, agent, head), rows in grouped(episodes, "train").items():
        published = published_curves().get(game)
        if published is None:
            continue
        last: dict[int, int] = {}
        for row in rows:
            last[row.seed] = max(last.get(row.seed, 0), row.agent_step)
        for number in range(next(iter(published.values())).mean.size):
            if min(last.values()) < (number + COVERED) * WINDOW:
                break
            begin, end = number * WINDOW, (number + 1) * WINDOW
            here = [row for row in rows if begin < row.agent_step <= end]
            seeds = len(by_seed(here))
            if seeds == len(last):
                found.append(Window(game, agent, head, number, estimate(here), seeds, published))
    return found
