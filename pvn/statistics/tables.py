"""The tables of a report, and the results as CSV."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from typing import NamedTuple

from pvn.statistics.page import Table
from pvn.statistics.summary import AGENTS, Aggregate, Estimate, ProbeKind, Result, probe_order

_METRICS = {"r2": "R²"}
_TARGETS = {"value": "the discounted return"}

_R2_NOTE = (
    "The share of the variance of {what} that a linear (ridge) probe of the frozen features "
    "explains on held-out data: 1 is all of it, 0 is no better than a constant. Brackets hold the "
    "probe's interval. With several seeds, the value is the mean over seeds and the interval spans "
    "the intervals of all seeds. A probe belongs to the features, so each head's row shows it."
)
_PROBE_NOTE = (
    "{metric} of a probe that predicts {what} from the frozen features, on held-out data. Brackets "
    "hold the probe's interval. With several seeds, the value is the mean over seeds and the "
    "interval spans the intervals of all seeds. A probe belongs to the features, so each head's "
    "row shows it."
)
_RETURN_NOTE = (
    "Mean undiscounted return of the evaluation episodes, in the game's own points, with its 95 % "
    "percentile bootstrap interval over episodes (2,000 resamples). With several seeds, the value "
    "is the mean of the seeds' means, and every seed has the same weight. The bootstrap then "
    "resamples the seeds first and the episodes of each drawn seed second. With one seed, the "
    "interval does not include the variation between training seeds."
)
_NORMALISED_NOTE = (
    "(return - random) / (human - random): 0 is the score of random play, 1 that of a human. The "
    "score is approximate: the references were measured with 30 no-op starts and without sticky "
    "actions, unlike the protocol used here. Games without a reference have no score."
)


def _name(agent: str) -> str:
    return AGENTS.get(agent, agent)


def agent_label(agent: str, head: str) -> str:
    """The label of an agent and its head in a legend."""
    return _name(agent) if head == "none" else f"{_name(agent)}, {head}"


def _estimate(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return "-"
    if estimate.interval is None:
        return format(estimate.value, form)
    low, high = (format(end, form) for end in estimate.interval)
    return f"{format(estimate.value, form)} [{low}, {high}]"


class _Column(NamedTuple):
    """A column of probes."""

    kind: ProbeKind
    title: str  # in tables
    name: str  # in the CSV


def _setting(name: str, text: str) -> str:
    """The text of a setting's value; for code, the beginning of its hash."""
    value = json.loads(text)
    if name == "code":
        return hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _columns(results: Sequence[Result]) -> list[_Column]:
    """A column for each kind of probe.

    The title names the discount, and the settings in which kinds of the same title differ.
    """
    kinds = sorted({kind for result in results for kind in result.probes}, key=probe_order)
    columns = []
    for kind in kinds:
        alike = [other for other in kinds if _title(other) == _title(kind)]
        shown = {
            name: _setting(name, text)
            for name, text in kind.settings
            if name == "discount" or any((name, text) not in other.settings for other in alike)
        }
        title = _title(kind)
        if shown:
            title += f" ({', '.join(f'{name} {value}' for name, value in shown.items())})"
        words = [
            value if name == "discount" else f"{name}_{value}" for name, value in shown.items()
        ]
        columns.append(_Column(kind, title, "_".join([kind.target, kind.metric, *words])))
    return columns


def _title(kind: ProbeKind) -> str:
    """For example "Value-probe R²"."""
    target = kind.target[:1].upper() + kind.target[1:]
    return f"{target}-probe {_METRICS.get(kind.metric, kind.metric)}"


def results_table(results: Sequence[Result]) -> Table:
    """One row for each result, one column for each kind of probe."""
    columns = _columns(results)
    header = ["Game", "Agent", "Head", *(column.title for column in columns)]
    header += ["Episode return", "Episodes", "Seeds", "Human-normalised"]
    rows = [
        [
            result.game,
            _name(result.agent),
            result.head,
            *(_estimate(result.probes.get(column.kind), ".3f") for column in columns),
            _estimate(result.episode_return, ",.1f"),
            str(result.num_episodes or "-"),
            str(result.num_seeds or "-"),
            "-" if result.normalised is None else f"{result.normalised:.3f}",
        ]
        for result in results
    ]
    return Table(header, rows, 3)


def aggregate_table(aggregates: Sequence[Aggregate]) -> Table:
    """One row for each (agent, head)."""
    rows = [
        [
            _name(each.agent),
            each.head,
            str(len(each.games)),
            str(each.num_runs),
            _estimate(each.iqm, ".3f"),
        ]
        for each in aggregates
    ]
    return Table(["Agent", "Head", "Games", "Runs", "IQM of human-normalised"], rows, 2)


def notes(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(column, its meaning) for the columns that the results have."""
    probes = []
    for kind, *_ in _columns(results):
        what = _TARGETS.get(kind.target, f"the target {kind.target}")
        note = _R2_NOTE if kind.metric == "r2" else _PROBE_NOTE
        probes.append((_title(kind), note.format(what=what, metric=kind.metric)))
    return [
        *dict.fromkeys(probes),
        ("Episode return", _RETURN_NOTE),
        ("Episodes, Seeds", "The number of evaluation episodes, and of seeds that they come from."),
        ("Human-normalised", _NORMALISED_NOTE),
    ]


def to_csv(results: Sequence[Result]) -> str:
    """The results in full precision with unchanged names. An empty cell is a missing value."""
    columns = _columns(results)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ["game", "agent", "head"]
    for name in (*(column.name for column in columns), "episode_return"):
        header += [name, f"{name}_low", f"{name}_high"]
    writer.writerow([*header, "episodes", "seeds", "human_normalised"])
    for result in results:
        row: list[object] = [result.game, result.agent, result.head]
        probes = (result.probes.get(column.kind) for column in columns)
        for estimate in (*probes, result.episode_return):
            row.append(estimate.value if estimate else None)
            row += estimate.interval if estimate and estimate.interval else (None, None)
        writer.writerow([*row, result.num_episodes, result.num_seeds, result.normalised])
    return file.getvalue()
