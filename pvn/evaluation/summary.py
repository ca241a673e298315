"""From the rows that evaluation and probes wrote to the numbers of a report.

A directory holds `scores.jsonl` (an episode a line), `probes.jsonl` (a probe a line), or both.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pvn.errors import UserError
from pvn.evaluation.statistics import (
    human_normalised,
    interquartile_mean,
    nested_bootstrap,
    stratified_bootstrap,
)

Row = TypeVar("Row")

SCORES, PROBES = "scores.jsonl", "probes.jsonl"
METHODS = {
    "pvn": "PVN features",
    "random_features": "random-network features",
    "random_policy": "random policy",
}


class Episode(NamedTuple):
    """A line of scores.jsonl."""

    game: str
    method: str
    head: str
    seed: int
    phase: str  # "train" or "eval"
    agent_step: int  # agent steps of reward interaction when the episode ended
    score: float  # the undiscounted return
    length: int  # agent steps


class Probe(NamedTuple):
    """A line of probes.jsonl whose targets are values."""

    game: str
    method: str
    seed: int
    discount: float
    r2: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A mean and its 95 % interval, or None where there is nothing to take one from."""

    mean: float
    interval: tuple[float, float] | None


class Result(NamedTuple):
    """What is known of one head on one kind of features in one game."""

    game: str
    method: str
    head: str
    r2: dict[float, Estimate]  # by discount
    score: Estimate | None  # None: no evaluation episodes
    num_episodes: int
    num_seeds: int
    normalised: float | None


class Aggregate(NamedTuple):
    """Human-normalised scores of one head on one kind of features over several games."""

    method: str
    head: str
    games: tuple[str, ...]
    num_runs: int
    iqm: Estimate


class Curve(NamedTuple):
    """Training returns of one head on one kind of features in one game, in K bins."""

    game: str
    method: str
    head: str
    agent_step: np.ndarray  # [K], mean over the bin's episodes
    score: np.ndarray  # [K]
    low: np.ndarray  # [K], NaN where a bin has one episode
    high: np.ndarray  # [K]


# Reading.


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _game(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]+", value) is not None


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _finite(value: Any) -> bool:
    # The comparison is false for NaN too, and holds for integers that no float can take.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _field(row: dict[str, Any], name: str, valid: Callable[[Any], bool], expected: str) -> Any:
    if name not in row:
        raise ValueError(f"lacks the field {name!r}")
    if not valid(row[name]):
        found = json.dumps(row[name])
        found = found if len(found) <= 40 else found[:40] + "..."
        raise ValueError(f"field {name!r} is {found}, expected {expected}")
    return row[name]


def _episode(row: dict[str, Any]) -> Episode:
    return Episode(
        game=_field(row, "game", _game, "a game's name, as Pong"),
        method=_field(row, "method", _text, "a name"),
        head=_field(row, "head", _text, "a name"),
        seed=_field(row, "seed", _count, "an integer from 0"),
        phase=_field(row, "phase", lambda v: v in ("train", "eval"), '"train" or "eval"'),
        agent_step=_field(row, "agent_step", _count, "an integer from 0"),
        score=float(_field(row, "return", _finite, "a finite number")),
        length=_field(row, "length", _count, "an integer from 0"),
    )


def _probe(row: dict[str, Any]) -> Probe | None:
    if _field(row, "targets", _text, "a name") != "value":
        return None
    return Probe(
        game=_field(row, "game", _game, "a game's name, as Pong"),
        method=_field(row, "method", _text, "a name"),
        seed=_field(row, "seed", _count, "an integer from 0"),
        discount=float(_field(row, "discount", _finite, "a finite number")),
        r2=float(_field(row, "r2", _finite, "a finite number")),
        low=float(_field(row, "r2_low", _finite, "a finite number")),
        high=float(_field(row, "r2_high", _finite, "a finite number")),
    )


def _read(path: Path, parse: Callable[[dict[str, Any]], Row]) -> Iterator[tuple[str, Row]]:
    """Yields (file:line, row)."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        last = number == len(lines)
        if last and not line:
            return
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{place}: the last line is cut off; is the run still writing, or was it killed?"
                if last
                else f"{place}: is not JSON"
            ) from error
        if not isinstance(row, dict):
            raise UserError(f"{place}: is not a JSON object")
        try:
            yield place, parse(row)
        except ValueError as error:
            raise UserError(f"{place}: {error}") from error


def load_rows(inputs: Sequence[str]) -> tuple[list[Episode], list[Probe]]:
    """Reads the scores and the value probes of some directories; probes of other targets are left.

    Raises:
      UserError: a directory is missing or holds neither file; a line is not JSON, lacks a field
        or has a wrong value; a run is there twice, which would count it twice; nothing to report.
    """
    episodes: list[Episode] = []
    probes: list[Probe] = []
    homes: dict[tuple[Any, ...], Path] = {}
    places: dict[tuple[Any, ...], str] = {}
    seen: set[Path] = set()
    for text in inputs:
        directory = Path(text)
        if not directory.is_dir():
            raise UserError(f"input {directory}: no such directory")
        if directory.resolve() in seen:
            raise UserError(f"input {directory}: is named twice")
        seen.add(directory.resolve())
        scores, probed = directory / SCORES, directory / PROBES
        if not scores.exists() and not probed.exists():
            raise UserError(f"input {directory}: holds neither {SCORES} nor {PROBES}")
        if scores.exists():
            for place, episode in _read(scores, _episode):
                if homes.setdefault(episode[:5], scores) != scores:
                    raise UserError(
                        f"{place}: {', '.join(episode[:3])}, seed {episode.seed}, phase "
                        f"{episode.phase} is in {homes[episode[:5]]} too; a run counts once"
                    )
                episodes.append(episode)
        if probed.exists():
            for place, probe in _read(probed, _probe):
                if probe is None:
                    continue
                if places.setdefault(probe[:4], place) != place:
                    raise UserError(
                        f"{place}: {', '.join(probe[:2])}, seed {probe.seed}, discount "
                        f"{probe.discount:g} is at {places[probe[:4]]} too; a probe counts once"
                    )
                probes.append(probe)
    if not episodes and not probes:
        raise UserError(f"nothing to report: no episode and no value probe in {', '.join(inputs)}")
    return episodes, probes


# Summarising.


def _by_seed(episodes: Sequence[Episode]) -> list[np.ndarray]:
    """The returns of each seed's episodes, seeds in order."""
    seeds: defaultdict[int, list[float]] = defaultdict(list)
    for episode in episodes:
        seeds[episode.seed].append(episode.score)
    return [np.array(seeds[seed]) for seed in sorted(seeds)]


def _estimate(episodes: Sequence[Episode]) -> Estimate:
    """Mean over seeds of their mean returns, with its interval from two episodes on."""
    groups = _by_seed(episodes)
    mean = float(np.mean([group.mean() for group in groups]))
    return Estimate(mean, nested_bootstrap(groups) if len(episodes) > 1 else None)


def _order(key: tuple[str, ...]) -> tuple[Any, ...]:
    """Sorts (..., method, head): ours first, then the baselines, then others by name."""
    *games, method, head = key
    known = list(METHODS)
    rank = known.index(method) if method in known else len(known)
    return *games, rank, method, head


def _grouped(episodes: Sequence[Episode], phase: str) -> dict[tuple[str, str, str], list[Episode]]:
    """The episodes of a phase by (game, method, head), in the order of the report."""
    groups: defaultdict[tuple[str, str, str], list[Episode]] = defaultdict(list)
    for episode in episodes:
        if episode.phase == phase:
            groups[episode[:3]].append(episode)
    return {key: groups[key] for key in sorted(groups, key=_order)}


def summarise(episodes: Sequence[Episode], probes: Sequence[Probe]) -> list[Result]:
    """One result for each (game, method, head), sorted.

    Features that were probed but never played have the head "none". With several seeds R^2 is the
    mean over seeds, and its interval reaches from their lowest end to their highest.
    """
    evaluated = _grouped(episodes, "eval")
    probed: defaultdict[tuple[str, str], defaultdict[float, list[Probe]]]
    probed = defaultdict(lambda: defaultdict(list))
    for probe in probes:
        probed[probe.game, probe.method][probe.discount].append(probe)
    keys = {episode[:3] for episode in episodes}
    keys |= {(*pair, "none") for pair in set(probed) - {key[:2] for key in keys}}

    results = []
    for game, method, head in sorted(keys, key=_order):
        played = evaluated.get((game, method, head), [])
        score = _estimate(played) if played else None
        r2 = {
            discount: Estimate(
                float(np.mean([probe.r2 for probe in group])),
                (min(probe.low for probe in group), max(probe.high for probe in group)),
            )
            for discount, group in sorted(probed.get((game, method), {}).items())
        }
        results.append(
            Result(
                game=game,
                method=method,
                head=head,
                r2=r2,
                score=score,
                num_episodes=len(played),
                num_seeds=len(_by_seed(played)),
                normalised=human_normalised(score.mean, game) if score else None,
            )
        )
    return results


def aggregate(episodes: Sequence[Episode]) -> list[Aggregate]:
    """Interquartile means of human-normalised scores, of what was played in two games or more.

    A run is a seed in a game, its score the mean return of its evaluation episodes. Games without
    a reference are left out. The interval needs two runs of every game: resampling a single one
    shows no spread, and the interval would look better than it is.
    """
    runs: defaultdict[tuple[str, str], dict[str, np.ndarray]] = defaultdict(dict)
    for (game, method, head), played in _grouped(episodes, "eval").items():
        scores = (human_normalised(float(group.mean()), game) for group in _by_seed(played))
        known = [score for score in scores if score is not None]
        if known:  # all of a game or none
            runs[method, head][game] = np.array(known)
    aggregates = []
    for method, head in sorted(runs, key=_order):
        games = runs[method, head]
        if len(games) < 2:
            continue
        spread = min(len(scores) for scores in games.values()) > 1
        pooled = np.concatenate(list(games.values()))
        interval = stratified_bootstrap(games, interquartile_mean) if spread else None
        iqm = Estimate(interquartile_mean(pooled), interval)
        aggregates.append(Aggregate(method, head, tuple(games), pooled.size, iqm))
    return aggregates


def learning_curves(episodes: Sequence[Episode], max_bins: int = 20) -> list[Curve]:
    """Training returns against agent steps, in bins of equal width, sorted.

    There are at most `max_bins`, and fewer where they would hold fewer than five episodes on
    average. Empty bins are left out. Means and intervals are those of `summarise`.
    """
    curves = []
    for key, trained in _grouped(episodes, "train").items():
        num_bins = min(max(len(trained) // 5, 1), max_bins)
        width = max(episode.agent_step for episode in trained) / num_bins
        bins: defaultdict[int, list[Episode]] = defaultdict(list)
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
