"""Computes the numbers of a report from rows of results."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pvn.evaluation.records import EpisodeRow, ProbeRow
from pvn.statistics.intervals import interquartile_mean, nested_bootstrap, stratified_bootstrap
from pvn.statistics.references import human_normalised

AGENTS = {
    "pvn": "PVN features",
    "random_features": "random-network features",
    "random_policy": "random policy",
}
"""Default agent name -> its label in a report. A report lists agents in this order."""

_BUDGET = ("max_rows",)  # settings that change how precise a probe is, not what it measures


class ProbeKind(NamedTuple):
    """The quantity that a probe measures. Results of one kind share a column of a report."""

    target: str
    metric: str
    settings: tuple[tuple[str, str], ...]  # (name, value as JSON), sorted by name


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    interval: tuple[float, float] | None  # None: too few values for an interval


class Result(NamedTuple):
    """All results of one head of one agent in one game."""

    game: str
    agent: str
    head: str
    probes: dict[ProbeKind, Estimate]
    episode_return: Estimate | None  # None: no evaluation episodes
    num_episodes: int  # evaluation episodes
    num_seeds: int
    normalised: float | None  # human-normalised episode return; None: no reference or no episodes


class Aggregate(NamedTuple):
    """The human-normalised score of one head of one agent over several games."""

    agent: str
    head: str
    games: tuple[str, ...]
    num_runs: int  # pairs of game and seed
    iqm: Estimate  # interquartile mean over runs


class Curve(NamedTuple):
    """Returns of the training episodes of one head of one agent in one game, in K bins."""

    game: str
    agent: str
    head: str
    agent_step: np.ndarray  # [K], mean over the bin's episodes
    episode_return: np.ndarray  # [K], likewise
    low: np.ndarray  # [K], NaN where a bin has one episode
    high: np.ndarray  # [K]


def probe_kind(row: ProbeRow) -> ProbeKind:
    """The kind of a probe."""
    settings = {k: json.dumps(v, sort_keys=True) for k, v in row.settings.items()}
    kept = sorted((name, text) for name, text in settings.items() if name not in _BUDGET)
    return ProbeKind(row.target, row.metric, tuple(kept))


def probe_order(kind: ProbeKind) -> tuple[Any, ...]:
    """A sort key: target, metric, then settings. Numbers are compared as numbers."""
    keys = []
    for name, text in kind.settings:
        value = json.loads(text)
        number = float(value) if isinstance(value, int | float) else 0.0
        keys.append((name, number, text))
    return kind.target, kind.metric, keys


def _by_seed(episodes: Sequence[EpisodeRow]) -> list[np.ndarray]:
    """The returns of each seed's episodes; seeds in ascending order."""
    seeds: defaultdict[int, list[float]] = defaultdict(list)
    for episode in episodes:
        seeds[episode.seed].append(episode.episode_return)
    return [np.array(seeds[seed]) for seed in sorted(seeds)]


def _estimate(episodes: Sequence[EpisodeRow]) -> Estimate:
    """The mean over seeds of each seed's mean return. The interval needs two episodes."""
    groups = _by_seed(episodes)
    mean = float(np.mean([group.mean() for group in groups]))
    return Estimate(mean, nested_bootstrap(groups) if len(episodes) > 1 else None)


def _order(key: tuple[str, ...]) -> tuple[Any, ...]:
    """A sort key for (..., agent, head): agents in the order of `AGENTS`, then others by name."""
    *games, agent, head = key
    known = list(AGENTS)
    rank = known.index(agent) if agent in known else len(known)
    return *games, rank, agent, head


def _grouped(
    episodes: Sequence[EpisodeRow], phase: str
) -> dict[tuple[str, str, str], list[EpisodeRow]]:
    """The episodes of a phase by (game, agent, head), in the order of the report."""
    groups: defaultdict[tuple[str, str, str], list[EpisodeRow]] = defaultdict(list)
    for episode in episodes:
        if episode.phase == phase:
            groups[episode[:3]].append(episode)
    return {key: groups[key] for key in sorted(groups, key=_order)}


def summarise(episodes: Sequence[EpisodeRow], probes: Sequence[ProbeRow]) -> list[Result]:
    """One result for each (game, agent, head), sorted.

    Features that were probed but not evaluated have the head "none". With several seeds, the value
    of a probe is the mean over seeds. Its interval spans the intervals of all seeds.
    """
    evaluated = _grouped(episodes, "eval")
    probed: defaultdict[tuple[str, str], defaultdict[ProbeKind, list[ProbeRow]]]
    probed = defaultdict(lambda: defaultdict(list))
    for probe in probes:
        probed[probe.game, probe.agent][probe_kind(probe)].append(probe)
    keys = {episode[:3] for episode in episodes}
    keys |= {(*pair, "none") for pair in set(probed) - {key[:2] for key in keys}}

    results = []
    for game, agent, head in sorted(keys, key=_order):
        played = evaluated.get((game, agent, head), [])
        episode_return = _estimate(played) if played else None
        kinds: dict[ProbeKind, list[ProbeRow]] = dict(probed.get((game, agent), {}))
        measured = {
            kind: Estimate(
                float(np.mean([probe.value for probe in kinds[kind]])),
                (min(probe.low for probe in kinds[kind]), max(probe.high for probe in kinds[kind])),
            )
            for kind in sorted(kinds, key=probe_order)
        }
        results.append(
            Result(
                game=game,
                agent=agent,
                head=head,
                probes=measured,
                episode_return=episode_return,
                num_episodes=len(played),
                num_seeds=len(_by_seed(played)),
                normalised=human_normalised(episode_return.value, game) if episode_return else None,
            )
        )
    return results


def aggregate(episodes: Sequence[EpisodeRow]) -> list[Aggregate]:
    """Interquartile means of human-normalised scores, for each (agent, head) of two or more games.

    A run is one seed in one game. Its score is the mean return of its evaluation episodes. Games
    without a reference are left out. The interval needs two runs of every game: a game with a
    single run does not vary under resampling, so the interval would be too narrow.
    """
    runs: defaultdict[tuple[str, str], dict[str, np.ndarray]] = defaultdict(dict)
    for (game, agent, head), played in _grouped(episodes, "eval").items():
        scores = (human_normalised(float(group.mean()), game) for group in _by_seed(played))
        known = [score for score in scores if score is not None]
        if known:  # a game has a reference for all of its scores or for none
            runs[agent, head][game] = np.array(known)
    aggregates = []
    for agent, head in sorted(runs, key=_order):
        games = runs[agent, head]
        if len(games) < 2:
            continue
        spread = min(len(scores) for scores in games.values()) > 1
        pooled = np.concatenate(list(games.values()))
        interval = stratified_bootstrap(games, interquartile_mean) if spread else None
        iqm = Estimate(interquartile_mean(pooled), interval)
        aggregates.append(Aggregate(agent, head, tuple(games), pooled.size, iqm))
    return aggregates


def learning_curves(episodes: Sequence[EpisodeRow], max_bins: int = 20) -> list[Curve]:
    """Training returns against agent steps, in bins of equal width.

    There are at most `max_bins` bins, and fewer if a bin would hold fewer than five episodes on
    average. Empty bins are left out. Means and intervals are computed as in `summarise`. Curves are
    sorted by game, agent and head.
    """
    curves = []
    for key, trained in _grouped(episodes, "train").items():
        num_bins = min(max(len(trained) // 5, 1), max_bins)
        width = max(episode.agent_step for episode in trained) / num_bins
        bins: defaultdict[int, list[EpisodeRow]] = defaultdict(list)
        for episode in trained:
            number = int(episode.agent_step / width) if width else 0
            bins[min(number, num_bins - 1)].append(episode)
        points = []
        for number in sorted(bins):
            step = float(np.mean([episode.agent_step for episode in bins[number]]))
            mean, interval = _estimate(bins[number])
            points.append((step, mean, *(interval or (np.nan, np.nan))))
        curves.append(Curve(*key, *np.array(points).T))
    return curves
