"""Comparisons of agents over several games, by the scores of their runs.

A run is one seed in one game. Its score is the mean return of its evaluation episodes,
human-normalised. Games without a reference are left out, except from the probability of
improvement, which needs no normalisation. An interval needs two runs of every game.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from pvn.evaluation.records import EpisodeRow
from pvn.statistics import aggregates
from pvn.statistics.correlation import Correlation, Within, spearman, within_groups
from pvn.statistics.curves import Curve
from pvn.statistics.references import human_normalised
from pvn.statistics.summary import (
    Estimate,
    ProbeKind,
    Result,
    interval_of_runs,
    probe_order,
    run_returns,
)

Scores = dict[tuple[str, str], dict[str, np.ndarray]]

STATISTICS = {
    "IQM": aggregates.interquartile_mean,
    "Median": aggregates.median,
    "Mean": aggregates.mean,
    "Optimality gap": aggregates.optimality_gap,
}


class Aggregate(NamedTuple):
    """The human-normalised scores of one head of one agent over several games."""

    agent: str
    head: str
    games: tuple[str, ...]
    num_runs: int  # pairs of game and seed
    estimates: dict[str, Estimate]  # by the names of `STATISTICS`


class Improvement(NamedTuple):
    """How probable it is that a run of one (agent, head) beats a run of another."""

    ours: tuple[str, str]
    theirs: tuple[str, str]
    games: tuple[str, ...]  # that both have
    probability: Estimate


class ProbeCorrelation(NamedTuple):
    """How a probe goes with the human-normalised score over cells: an agent in a game."""

    kind: ProbeKind
    head: str
    overall: Correlation
    num_games: int
    num_agents: int
    within: Within  # games, over agents


def _estimate(
    runs: Mapping[Any, np.ndarray], statistic: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> Estimate:
    """A statistic of the scores [R] of the runs of each stratum."""
    ends = interval_of_runs(runs, statistic)
    interval = None if ends is None else (float(ends[0]), float(ends[1]))
    return Estimate(float(statistic(list(runs.values()))), interval)


def run_scores(episodes: Sequence[EpisodeRow]) -> Scores:
    """{(agent, head): {game: human-normalised scores [R]}} of pairs with two or more games."""
    scores: Scores = {}
    for pair, games in run_returns(episodes).items():
        known = {
            game: np.array([human_normalised(value, game) for value in seeds.values()], float)
            for game, seeds in games.items()
            if human_normalised(0, game) is not None
        }
        if len(known) > 1:
            scores[pair] = known
    return scores


def aggregate(scores: Scores) -> list[Aggregate]:
    """The four aggregates of each (agent, head), with 95 % stratified bootstrap intervals."""
    found = []
    for pair, runs in scores.items():
        estimates = {name: _estimate(runs, statistic) for name, statistic in STATISTICS.items()}
        count = sum(each.size for each in runs.values())
        found.append(Aggregate(*pair, tuple(runs), count, estimates))
    return found


def improvements(episodes: Sequence[EpisodeRow]) -> list[Improvement]:
    """One for each pair of (agent, head)s that share two or more games."""
    returns = {
        pair: {game: np.array(list(seeds.values())) for game, seeds in games.items()}
        for pair, games in run_returns(episodes).items()
    }
    found = []
    for ours, theirs in combinations(returns, 2):
        games = [game for game in returns[ours] if game in returns[theirs]]
        if len(games) < 2:
            continue
        strata = {(pair, game): returns[pair][game] for pair in (ours, theirs) for game in games}

        def statistic(samples: Sequence[np.ndarray], count: int = len(games)) -> np.ndarray:
            return aggregates.probability_of_improvement(samples[:count], samples[count:])

        found.append(Improvement(ours, theirs, tuple(games), _estimate(strata, statistic)))
    return found


_LARGEST = 8.0  # human-normalised; profiles end here
_NUM_POINTS = 101  # of a profile


def profiles(scores: Scores) -> list[Curve]:
    """Performance profiles: the share of runs that score above a threshold.

    The thresholds are evenly spaced between the lowest and the highest score of all runs, at most
    8 times the human's. The bands are pointwise.
    """
    if not scores:
        return []
    pooled = np.concatenate([runs for games in scores.values() for runs in games.values()])
    low, high = min(float(pooled.min()), 0.0), min(float(pooled.max()), _LARGEST)
    thresholds = np.linspace(low, max(high, low + 1e-3), _NUM_POINTS)

    def statistic(games: Sequence[np.ndarray]) -> np.ndarray:
        return aggregates.score_distribution(games, thresholds)

    curves = []
    for pair, runs in scores.items():
        nothing = np.full(_NUM_POINTS, np.nan)
        band = interval_of_runs(runs, statistic) or (nothing, nothing)
        value = statistic(list(runs.values()))
        curves.append(Curve("", *pair, thresholds, value, *band, len(runs)))
    return curves


def probe_correlations(results: Sequence[Result]) -> list[ProbeCorrelation]:
    """One for each kind of probe and head with enough cells that have both numbers."""
    cells: defaultdict[tuple[ProbeKind, str], list[Result]] = defaultdict(list)
    for result in results:
        if result.normalised is not None:
            for kind in result.probes:
                cells[kind, result.head].append(result)
    found = []
    for kind, head in sorted(cells, key=lambda key: (probe_order(key[0]), key[1])):
        games: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for result in cells[kind, head]:
            games[result.game].append((result.probes[kind].value, result.normalised or 0.0))
        pairs = [pair for each in games.values() for pair in each]
        overall = spearman([x for x, _ in pairs], [y for _, y in pairs])
        if overall.rho is None:
            continue
        agents = {result.agent for result in cells[kind, head]}
        within = within_groups(games)
        found.append(ProbeCorrelation(kind, head, overall, len(games), len(agents), within))
    return found
