"""Reads the rows of results in several directories, and refuses to count a row twice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pvn.errors import UserError
from pvn.evaluation.records import (
    PROBES,
    SCORES,
    EpisodeRow,
    ProbeRow,
    parse_episode,
    parse_probe,
    read_rows,
)
from pvn.statistics.sources import Source, of_episode, of_probe, sources
from pvn.statistics.summary import probe_kind


class ResultRows(NamedTuple):
    """The rows of several directories, and where each group of rows is."""

    episodes: list[EpisodeRow]
    probes: list[ProbeRow]
    sources: list[Source]


def load_rows(inputs: Sequence[str], names: Sequence[str] | None = None) -> ResultRows:
    """Reads the episodes and the probes of some directories.

    A probe that is there twice counts once: each run of pvn.probe measures the diagnostics anew.

    Args:
      inputs: directories that hold scores.jsonl, probes.jsonl, or both.
      names: what the sources call them; default: as `inputs`.

    Raises:
      UserError: a directory is missing, is named twice, or holds neither file; a line is not a row;
        a run is in two directories, which would count it twice; two probes belong in the same cell
        of a report and differ; there are no rows.
    """
    episodes: list[EpisodeRow] = []
    probes: list[ProbeRow] = []
    places = []
    homes: dict[tuple[Any, ...], Path] = {}
    cells: dict[tuple[Any, ...], tuple[str, ProbeRow]] = {}
    for directory, name in zip(_directories(inputs), names or inputs, strict=True):
        scores, probed = directory / SCORES, directory / PROBES
        if scores.exists():
            for line, (place, episode) in enumerate(read_rows(scores, parse_episode), 1):
                run = episode[:5]  # game, agent, head, seed, phase
                if homes.setdefault(run, scores) != scores:
                    raise UserError(
                        f"{place}: {', '.join(run[:3])}, seed {episode.seed}, phase "
                        f"{episode.phase} is in {homes[run]} too; a run counts once"
                    )
                episodes.append(episode)
                places.append((of_episode(episode), f"{name}/{SCORES}", line))
        if probed.exists():
            for line, (place, probe) in enumerate(read_rows(probed, parse_probe), 1):
                cell = (*probe[:3], probe_kind(probe))  # game, agent, seed
                if cell in cells:
                    if _repeats(probe, cells[cell][1]):
                        continue
                    raise UserError(f"{place}: {_claim(probe, *cells[cell])}")
                cells[cell] = place, probe
                probes.append(probe)
                places.append((of_probe(probe), f"{name}/{PROBES}", line))
    if not episodes and not probes:
        raise UserError(f"nothing to report: no episode and no probe in {', '.join(inputs)}")
    return ResultRows(episodes, probes, sources(places))


def _directories(inputs: Sequence[str]) -> list[Path]:
    found: dict[Path, Path] = {}
    for text in inputs:
        directory = Path(text)
        if not directory.is_dir():
            raise UserError(f"input {directory}: no such directory")
        if directory.resolve() in found:
            raise UserError(f"input {directory}: is named twice")
        if not (directory / SCORES).exists() and not (directory / PROBES).exists():
            raise UserError(f"input {directory}: holds neither {SCORES} nor {PROBES}")
        found[directory.resolve()] = directory
    return list(found.values())


def _repeats(probe: ProbeRow, other: ProbeRow) -> bool:
    """Whether a row is the result that `other` is."""
    return (probe.identity, probe[8:11]) == (other.identity, other[8:11])  # value, low, high


def _claim(probe: ProbeRow, place: str, other: ProbeRow) -> str:
    """The message that `probe` belongs in the same cell as `other` at `place`, with a remedy."""
    settings = (f"{name} {value}" for name, value in probe.settings.items() if name != "code")
    what = ", ".join([probe.game, probe.agent, f"seed {probe.seed}", probe.target, *settings])
    if probe.identity == other.identity:
        return f"{what} is at {place} too, with another value; remove one of the lines"
    differ = [name for name in ("settings", "features", "dataset") if _differ(probe, other, name)]
    return (
        f"{what} is at {place} too, with other {' and '.join(differ)}; give one of them another "
        "name with --agent, or remove its line"
    )


def _differ(probe: ProbeRow, other: ProbeRow, name: str) -> bool:
    one, two = ({**getattr(row, name), "path": None} for row in (probe, other))
    return one != two
