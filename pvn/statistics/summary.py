"""Computes the numbers of a report from rows of results."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pvn.evaluation.records import DIAGNOSTICS, EpisodeRow, ProbeRow
from pvn.statistics.intervals import nested_bootstrap, stratified_bootstrap
from pvn.statistics.references import human_normalised

AGENTS = {
    "pvn": "PVN features",
    "pvn_finetuned": "PVN, fine-tuned",
    "pvn_finetuned_features": "fine-tuned PVN features",
    "random_features": "random-network features",
    "end_to_end": "end to end",
    "end_to_end_features": "end-to-end features",
    "random_policy": "random policy",
}
"""Default agent name -> its label in a report. A report lists agents in this order."""

# Settings that are part of a probe's identity, but not of what it measures: how precise it is, and
# the weights of the policy whose actions it predicts, which differ between seeds.
_NOT_KIND = ("max_rows", "policy_sha256")


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
    agent_steps: tuple[int, int] | None  # least and most steps with rewards, over the seeds
    normalised: float | None  # human-normalised episode return; None: no reference or no episodes


def probe_kind(row: ProbeRow) -> ProbeKind:
    """The kind of a probe."""
    settings = {k: json.dumps(v, sort_keys=True) for k, v in row.settings.items()}
    kept = sorted((name, text) for name, text in settings.items() if name not in _NOT_KIND)
    return ProbeKind(row.target, row.metric, tuple(kept))


def probe_order(kind: ProbeKind) -> tuple[Any, ...]:
    """A sort key: target, metric, then settings. Numbers are compared as numbers.

    Diagnostics come last.
    """
    keys = []
    for name, text in kind.settings:
        value = json.loads(text)
        number = float(value) if isinstance(value, int | float) else 0.0
        keys.append((name, number, text))
    return kind.target == DIAGNOSTICS, kind.target, kind.metric, keys


def by_seed(episodes: Sequence[EpisodeRow]) -> dict[int, np.ndarray]:
    """The returns of each seed's episodes; seeds in ascending order."""
    seeds: defaultdict[int, list[float]] = defaultdict(list)
    for episode in episodes:
        seeds[episode.seed].append(episode.episode_return)
    return {seed: np.array(seeds[seed]) for seed in sorted(seeds)}


def estimate(episodes: Sequence[EpisodeRow]) -> Estimate:
    """The mean over seeds of each seed's mean return. The interval needs two episodes."""
    groups = list(by_seed(episodes).values())
    mean = float(np.mean([group.mean() for group in groups]))
    return Estimate(mean, nested_bootstrap(groups) if len(episodes) > 1 else None)


def _probe_estimate(probes: Sequence[ProbeRow]) -> Estimate:
    """The mean over seeds. A row without an interval has the ends `low` = `value` = `high`."""
    value = float(np.mean([probe.value for probe in probes]))
    low, high = min(probe.low for probe in probes), max(probe.high for probe in probes)
    return Estimate(value, (low, high) if low < high else None)


def agent_order(key: tuple[str, ...]) -> tuple[Any, ...]:
    """A sort key for (..., agent, head): agents in the order of `AGENTS`, then others by name."""
    *games, agent, head = key
    known = list(AGENTS)
    rank = known.index(agent) if agent in known else len(known)
    return *games, rank, agent, head


def grouped(
    episodes: Sequence[EpisodeRow], phase: str
) -> dict[tuple[str, str, str], list[EpisodeRow]]:
    """The episodes of a phase by (game, agent, head), in the order of the report."""
    groups: defaultdict[tuple[str, str, str], list[EpisodeRow]] = defaultdict(list)
    for episode in episodes:
        if episode.phase == phase:
            groups[episode[:3]].append(episode)
    return {key: groups[key] for key in sorted(groups, key=agent_order)}


def headline(episodes: Sequence[EpisodeRow]) -> list[EpisodeRow]:
    """The evaluation episodes of each run (one seed in one game) at its largest agent step.

    A run that was evaluated after several amounts of rewards has a curve; its score is the last.
    """
    last: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    played = [episode for episode in episodes if episode.phase == "eval"]
    for episode in played:
        last[episode[:4]] = max(last[episode[:4]], episode.agent_step)
    return [episode for episode in played if episode.agent_step == last[episode[:4]]]


def summarise(episodes: Sequence[EpisodeRow], probes: Sequence[ProbeRow]) -> list[Result]:
    """One result for each (game, agent, head), sorted.

    Features that were probed but not evaluated have the head "none". With several seeds, the value
    of a probe is the mean over seeds. Its interval spans the intervals of all seeds, or, without
    intervals, their values.
    """
    evaluated = grouped(headline(episodes), "eval")
    probed: defaultdict[tuple[str, str], defaultdict[ProbeKind, list[ProbeRow]]]
    probed = defaultdict(lambda: defaultdict(list))
    for probe in probes:
        probed[probe.game, probe.agent][probe_kind(probe)].append(probe)
    keys = {episode[:3] for episode in episodes}
    keys |= {(*pair, "none") for pair in set(probed) - {key[:2] for key in keys}}

    results = []
    for game, agent, head in sorted(keys, key=agent_order):
        played = evaluated.get((game, agent, head), [])
        episode_return = estimate(played) if played else None
        steps = [episode.agent_step for episode in played]
        kinds: dict[ProbeKind, list[ProbeRow]] = dict(probed.get((game, agent), {}))
        measured = {kind: _probe_estimate(kinds[kind]) for kind in sorted(kinds, key=probe_order)}
        results.append(
            Result(
                game=game,
                agent=agent,
                head=head,
                probes=measured,
                episode_return=episode_return,
                num_episodes=len(played),
                num_seeds=len(by_seed(played)),
                agent_steps=(min(steps), max(steps)) if steps else None,
                normalised=human_normalised(episode_return.value, game) if episode_return else None,
            )
        )
    return results


def run_returns(
    episodes: Sequence[EpisodeRow],
) -> dict[tuple[str, str], dict[str, dict[int, float]]]:
    """{(agent, head): {game: {seed: mean return of the evaluation}}}, in the order of a report."""
    runs: defaultdict[tuple[str, str], dict[str, dict[int, float]]] = defaultdict(dict)
    for (game, agent, head), played in grouped(headline(episodes), "eval").items():
        runs[agent, head][game] = {
            seed: float(values.mean()) for seed, values in by_seed(played).items()
        }
    return {pair: runs[pair] for pair in sorted(runs, key=agent_order)}


def interval_of_runs(
    runs: Mapping[Any, np.ndarray], statistic: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """As `stratified_bootstrap`; None unless every stratum has two runs.

    A stratum with a single run does not vary under resampling: the interval would be too narrow.
    """
    if min(scores.size for scores in runs.values()) < 2:
        return None
    return stratified_bootstrap(runs, statistic)
