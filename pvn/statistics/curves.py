"""Curves of returns against agent steps with rewards."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pvn.evaluation.records import EpisodeRow
from pvn.statistics.aggregates import interquartile_mean
from pvn.statistics.references import human_normalised, reference_scores
from pvn.statistics.summary import by_seed, estimate, grouped, interval_of_runs

_NUM_BINS = 20  # of a curve of training returns, at most


class Curve(NamedTuple):
    """K points of one head of one agent."""

    game: str  # "": an aggregate over games
    agent: str
    head: str
    x: np.ndarray  # [K], agent steps with rewards, or another quantity
    value: np.ndarray  # [K]
    low: np.ndarray  # [K], of the 95 % interval; NaN where there is none
    high: np.ndarray  # [K]
    num_games: int = 1


def learning_curves(episodes: Sequence[EpisodeRow]) -> list[Curve]:
    """Training returns against agent steps, in bins of equal width.

    There are at most 20 bins, and fewer if a bin would hold fewer than five episodes on average.
    Empty bins are left out. Means and intervals are computed as in `summarise`. Curves are sorted
    by game, agent and head.
    """
    curves = []
    for key, trained in grouped(episodes, "train").items():
        num_bins = min(max(len(trained) // 5, 1), _NUM_BINS)
        width = max(episode.agent_step for episode in trained) / num_bins
        bins: defaultdict[int, list[EpisodeRow]] = defaultdict(list)
        for episode in trained:
            number = int(episode.agent_step / width) if width else 0
            bins[min(number, num_bins - 1)].append(episode)
        steps = {
            number: float(np.mean([episode.agent_step for episode in bins[number]]))
            for number in sorted(bins)
        }
        curves.append(_curve(key, {steps[number]: bins[number] for number in steps}))
    return curves


def _curve(key: tuple[str, str, str], points: Mapping[float, Sequence[EpisodeRow]]) -> Curve:
    """The mean return of the episodes at each x."""
    rows = []
    for x, episodes in points.items():
        mean, interval = estimate(episodes)
        rows.append((x, mean, *(interval or (np.nan, np.nan))))
    return Curve(*key, *np.array(rows).T)


def label_efficiency(episodes: Sequence[EpisodeRow]) -> list[Curve]:
    """Evaluation returns against agent steps, of agents that were evaluated at two or more.

    Each point is computed as the episode return in `summarise`.
    """
    curves = []
    for key, played in grouped(episodes, "eval").items():
        steps: defaultdict[float, list[EpisodeRow]] = defaultdict(list)
        for episode in played:
            steps[episode.agent_step].append(episode)
        if len(steps) > 1:
            curves.append(_curve(key, {step: steps[step] for step in sorted(steps)}))
    return curves


def _by_pair(
    episodes: Sequence[EpisodeRow], phase: str
) -> dict[tuple[str, str], dict[str, list[EpisodeRow]]]:
    """{(agent, head): {game: episodes}} for games with a reference, if there are two or more."""
    pairs: defaultdict[tuple[str, str], dict[str, list[EpisodeRow]]] = defaultdict(dict)
    for (game, agent, head), rows in grouped(episodes, phase).items():
        if game in reference_scores():
            pairs[agent, head][game] = rows
    return {pair: games for pair, games in pairs.items() if len(games) > 1}


def _iqm_curve(
    pair: tuple[str, str], x: np.ndarray, games: Mapping[str, Sequence[np.ndarray]]
) -> Curve:
    """games: for each, the returns [K] of each run. x [K]."""
    scores = {
        game: np.array([[human_normalised(value, game) for value in run] for run in runs], float)
        for game, runs in games.items()
    }
    points = []
    for k in range(x.size):
        here = {game: runs[:, k] for game, runs in scores.items()}
        value = interquartile_mean(list(here.values()))
        points.append((value, *(interval_of_runs(here, interquartile_mean) or (np.nan, np.nan))))
    value, low, high = np.array(points).T
    return Curve("", *pair, x, value, low, high, num_games=len(games))


def sample_efficiency(episodes: Sequence[EpisodeRow]) -> list[Curve]:
    """IQM over games of human-normalised training returns, for each (agent, head).

    The steps up to which all runs have training episodes are divided into 20 equal bins. The score
    of a run in a bin is the mean return of the episodes that ended in the bin, or, if none did, its
    score in the previous bin. Bins before the first episode of some run are left out. `x` is the
    end of a bin.
    """
    curves = []
    for pair, games in _by_pair(episodes, "train").items():
        runs = {game: _runs(rows) for game, rows in games.items()}
        end = min(run[-1][0] for each in runs.values() for run in each)
        ends = np.linspace(0, end, _NUM_BINS + 1)[1:]
        binned = {game: [_binned(run, ends) for run in each] for game, each in runs.items()}
        rows = np.array([row for each in binned.values() for row in each])
        kept = np.isfinite(rows).all(axis=0)
        if kept.sum() > 1:
            cut = {game: [row[kept] for row in each] for game, each in binned.items()}
            curves.append(_iqm_curve(pair, ends[kept], cut))
    return curves


def _runs(rows: Sequence[EpisodeRow]) -> list[np.ndarray]:
    """For each seed, (agent step, return) [N, 2] in the order of steps."""
    seeds: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.agent_step):
        seeds[row.seed].append((row.agent_step, row.episode_return))
    return [np.array(seeds[seed]) for seed in sorted(seeds)]


def _binned(run: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The mean return in each bin [K]. An empty bin has the value of the previous one, or NaN."""
    # The tolerance keeps the step that is the end of a bin in that bin.
    number = np.searchsorted(ends * (1 + 1e-9), run[:, 0])
    values = np.full(ends.size, np.nan)
    for k in range(ends.size):
        here = run[number == k, 1]
        values[k] = here.mean() if here.size else values[k - 1] if k else np.nan
    return values


def label_efficiency_over_games(episodes: Sequence[EpisodeRow]) -> list[Curve]:
    """IQM over games of human-normalised evaluation returns, for each (agent, head).

    `x` are the agent steps at which all runs were evaluated, if there are two or more.
    """
    curves = []
    for pair, games in _by_pair(episodes, "eval").items():
        steps: dict[int, list[EpisodeRow]] = defaultdict(list)
        for row in (row for rows in games.values() for row in rows):
            steps[row.agent_step].append(row)
        runs = {(game, row.seed) for game, rows in games.items() for row in rows}
        x = [k for k in sorted(steps) if {(row.game, row.seed) for row in steps[k]} == runs]
        if len(x) < 2:
            continue
        returns: dict[str, list[np.ndarray]] = {}
        for game in games:
            means = [
                [each.mean() for each in by_seed([r for r in steps[k] if r.game == game]).values()]
                for k in x
            ]
            returns[game] = list(np.array(means).T)
        curves.append(_iqm_curve(pair, np.array(x, float), returns))
    return curves
