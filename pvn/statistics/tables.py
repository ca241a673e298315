"""The table of the results, and the meaning of its columns."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pvn.evaluation.records import DIAGNOSTICS
from pvn.statistics.intervals import NUM_RESAMPLES
from pvn.statistics.page import Cell, Table
from pvn.statistics.summary import AGENTS, Estimate, ProbeKind, Result, probe_order

_METRICS = {"r2": "R²", "r2_pooled": "pooled R²"}
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
_DIAGNOSTICS = {
    "srank": "Effective rank of the features: the number of largest singular values that make up "
    "99 % of their sum (Kumar et al. 2021).",
    "dead_units": "The number of features that are 0 in every state.",
    "effective_dimension": "M times the largest leverage score of M states, between 1 and M. If it "
    "is large, some state shares its features with few others, and its value must be learned from "
    "its own samples (Le Lan et al. 2022, with a penalty added).",
    "norm_mean": "Mean over states of the Euclidean norm of the features.",
    "norm_max": "Largest Euclidean norm of the features of a state.",
    "cka": "Linear CKA with the features of the agent that the column names (Kornblith et al. "
    "2019): 1 if the two agree up to rotation and scale, 0 if they are uncorrelated.",
}
_DIAGNOSTIC_NOTE = (
    " Measured on the features alone, without a target, so it is no score. With one seed it has no "
    "interval. With several, the value is the mean over seeds, and brackets hold the least and the "
    "greatest."
)
_RETURN_NOTE = (
    "Mean undiscounted return of the evaluation episodes, in the game's own points, with its 95 % "
    f"percentile bootstrap interval over episodes ({NUM_RESAMPLES:,} resamples). With several "
    "seeds, the value is the mean of the seeds' means, and every seed has the same weight. The "
    "bootstrap then resamples the seeds first and the episodes of each drawn seed second. With one "
    "seed, the interval does not include the variation between training seeds."
)
_NORMALISED_NOTE = (
    "(return - random) / (human - random): 0 is the score of random play, 1 that of a human. The "
    "score is approximate: the references were measured with 30 no-op starts and without sticky "
    "actions, unlike the protocol used here. Games without a reference have no score."
)
_STEPS_NOTE = (
    "Agent steps with rewards before the evaluation: of interaction, or of a labelled dataset. A "
    "run that was evaluated at several counts by its last evaluation. Two numbers: seeds differ."
)

Anchors = Mapping[tuple[str, ...], str]
"""(agent, head, game), or (agent, head), -> the anchor of the list of its rows."""


def agent_name(agent: str) -> str:
    """The label of an agent."""
    return AGENTS.get(agent, agent)


def agent_label(agent: str, head: str) -> str:
    """The label of an agent and its head in a legend."""
    return agent_name(agent) if head == "none" else f"{agent_name(agent)}, {head}"


def number(value: float | None, form: str) -> Cell:
    """A cell with a number, or with a dash."""
    return Cell("-" if value is None else format(value, form), value)


def estimate_cell(estimate: Estimate | None, form: str) -> Cell:
    """A cell with a number and its interval, or with a dash."""
    if estimate is None:
        return Cell("-")
    text = format(estimate.value, form)
    if estimate.interval is not None:
        low, high = (format(end, form) for end in estimate.interval)
        text += f" [{low}, {high}]"
    return Cell(text, estimate.value, estimate.interval)


def steps_cell(steps: tuple[int, int] | None) -> Cell:
    """A cell with a number of agent steps, or with the range over seeds."""
    if steps is None:
        return Cell("-")
    text = f"{steps[1]:,}" if steps[0] == steps[1] else f"{steps[0]:,} to {steps[1]:,}"
    return Cell(text, float(steps[1]))


class Column(NamedTuple):
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


def probe_columns(results: Sequence[Result]) -> list[Column]:
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
            if not (kind.metric == "cka" and name == "other")  # the title has it
        }
        title = _title(kind)
        if shown:
            title += f" ({', '.join(f'{name} {value}' for name, value in shown.items())})"
        words = [
            value if name == "discount" else f"{name}_{value}" for name, value in shown.items()
        ]
        metric = _diagnostic(kind) if kind.target == DIAGNOSTICS else kind.metric
        name = "_".join([kind.target, metric.replace(" ", "_"), *words])
        columns.append(Column(kind, title, name))
    return columns


def _title(kind: ProbeKind) -> str:
    """For example "Value-probe R²", or "srank" for a diagnostic."""
    if kind.target == DIAGNOSTICS:
        return _diagnostic(kind)
    target = kind.target[:1].upper() + kind.target[1:]
    return f"{target}-probe {_METRICS.get(kind.metric, kind.metric)}"


def _diagnostic(kind: ProbeKind) -> str:
    """The name of a diagnostic: "srank", "dead units", "CKA with random_features"."""
    other = dict(kind.settings).get("other")
    if kind.metric == "cka" and other is not None:
        return f"CKA with {json.loads(other)}"
    return kind.metric.replace("_", " ")


def results_table(results: Sequence[Result], anchors: Anchors) -> Table:
    """One row for each result, one column for each kind of probe.

    anchors: (agent, head, game) -> where its rows are listed.
    """
    columns = probe_columns(results)
    header = ["Game", "Agent", "Head", *(column.title for column in columns)]
    header += ["Episode return", "Human-normalised", "Agent steps", "Episodes", "Seeds", "Source"]
    rows: list[list[str | Cell]] = [
        [
            result.game,
            agent_name(result.agent),
            result.head,
            *(estimate_cell(result.probes.get(each.kind), _form(each.kind)) for each in columns),
            estimate_cell(result.episode_return, ",.1f"),
            number(result.normalised, ".3f"),
            steps_cell(result.agent_steps),
            number(result.num_episodes or None, ""),
            number(result.num_seeds or None, ""),
            Cell("rows", link=anchors[result.agent, result.head, result.game]),
        ]
        for result in results
    ]
    return Table(header, rows, 3)


def _form(kind: ProbeKind) -> str:
    """How a number is written. Diagnostics are counts, lengths and shares."""
    return ",.4g" if kind.target == DIAGNOSTICS else ".3f"


def notes(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(column, its meaning) for the columns that the results have."""
    probes = []
    for kind, *_ in probe_columns(results):
        if kind.target == DIAGNOSTICS:
            meaning = _DIAGNOSTICS.get(kind.metric, "A diagnostic.")
            probes.append((_title(kind), meaning + _DIAGNOSTIC_NOTE))
            continue
        what = _TARGETS.get(kind.target, f"the target {kind.target}")
        note = _R2_NOTE if kind.metric == "r2" else _PROBE_NOTE
        probes.append(
            (_title(kind), note.format(what=what, metric=_METRICS.get(kind.metric, kind.metric)))
        )
    return [
        *dict.fromkeys(probes),
        ("Episode return", _RETURN_NOTE),
        ("Human-normalised", _NORMALISED_NOTE),
        ("Agent steps", _STEPS_NOTE),
        ("Episodes, Seeds", "The number of evaluation episodes, and of seeds that they come from."),
        ("Source", "Leads to the files and lines that the numbers of a table's row come from."),
    ]
