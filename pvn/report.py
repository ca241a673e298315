r"""Compares scores and probes of several runs: tables, curves and one page.

    python -m pvn.report --inputs=runs/pong/eval,runs/pong/eval_random,runs/pong/probe \
        --workdir=runs/report

An input is a directory that holds `scores.jsonl`, `probes.jsonl`, or both. The command writes
`report.md`, `report.html` (self-contained), a PNG for each chart, and CSV files: `scores.csv`,
`curves.csv`, `sources.csv` (the files and lines behind each number), and, where the report has
such a table, `aggregates.csv`, `improvements.csv`, `published.csv` and `correlations.csv`. The same
inputs give the same report.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from pvn.evaluation.records import PROBES, SCORES
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.runs.run_directory import lock_workdir
from pvn.statistics import exports
from pvn.statistics import over_games_tables as over
from pvn.statistics.charts import game_charts, over_games_chart, probe_chart
from pvn.statistics.comparable import mixed_probes
from pvn.statistics.curves import (
    Curve,
    label_efficiency,
    label_efficiency_over_games,
    learning_curves,
    sample_efficiency,
)
from pvn.statistics.figures import png
from pvn.statistics.load import ResultRows, load_rows
from pvn.statistics.origins import origins
from pvn.statistics.over_games import (
    Aggregate,
    Improvement,
    ProbeCorrelation,
    aggregate,
    improvements,
    probe_correlations,
    profiles,
    run_scores,
)
from pvn.statistics.page import (
    Chart,
    Files,
    Heading,
    Note,
    Part,
    Terms,
    markdown_page,
    printed,
)
from pvn.statistics.sources import Source
from pvn.statistics.summary import Result, summarise
from pvn.statistics.tables import notes, probe_columns, results_table
from pvn.statistics.web import html_page, slug
from pvn.statistics.windows import Window, windows
from pvn.storage.files import write_whole
from pvn.storage.remote import reading

_INPUTS = cfg.define_paths(
    "inputs", "Directories with scores.jsonl or probes.jsonl, comma-separated.", required=True
)
_WORKDIR = cfg.define_path("workdir", None, "Directory to write.", required=True, local=False)

# Files that only some reports have.
_OURS = re.compile(
    r"(curves|aggregates|improvements|published|correlations)\.csv|"
    r"(profiles|probe_\d+|(sample_efficiency|label_efficiency|learning_curves)[\w-]*)\.png"
)

_RESULTS = "Results"
_STEPS = "agent steps with rewards"
_NORMALISED = "IQM of human-normalised return"


class Numbers(NamedTuple):
    """All numbers of a report."""

    results: list[Result]
    mixed: list[str]  # probes that share a column and cannot be compared
    aggregates: list[Aggregate]
    improvements: list[Improvement]
    windows: list[Window]
    correlations: list[ProbeCorrelation]
    curves: dict[str, list[Curve]]  # by kind
    sources: list[Source]


def compute(rows: ResultRows) -> Numbers:
    """Computes the numbers of a report."""
    scores, results = run_scores(rows.episodes), summarise(rows.episodes, rows.probes)
    return Numbers(
        results=results,
        mixed=mixed_probes(rows.probes, probe_columns(results)),
        aggregates=aggregate(scores),
        improvements=improvements(rows.episodes),
        windows=windows(rows.episodes),
        correlations=probe_correlations(results),
        curves={
            "profile": profiles(scores),
            "sample_efficiency": sample_efficiency(rows.episodes),
            "label_efficiency_over_games": label_efficiency_over_games(rows.episodes),
            "learning": learning_curves(rows.episodes),
            "label_efficiency": label_efficiency(rows.episodes),
        },
        sources=rows.sources,
    )


def contents(numbers: Numbers, inputs: Sequence[str]) -> list[Part]:
    """The parts of a report, in order."""
    results, curves = numbers.results, numbers.curves
    # An (agent, head) has the same colour in every chart.
    styles = {pair: i for i, pair in enumerate(dict.fromkeys(each[1:3] for each in results))}
    listed, anchors = origins(results, numbers.sources)
    parts: list[Part] = [Heading(_RESULTS), results_table(results, anchors)]
    parts += [Note(line, warning=True) for line in numbers.mixed]
    if numbers.aggregates:
        parts += [Heading("Over games"), over.aggregate_table(numbers.aggregates, anchors)]
        parts += [Note(over.AGGREGATE_NOTE)]
    axes = ("human-normalised score", "share of runs above")
    profile = over_games_chart("All runs", "profiles.png", axes, curves["profile"], styles)
    parts += _section("Performance profiles", over.PROFILE_NOTE, profile)
    if numbers.improvements:
        table = over.improvement_table(numbers.improvements, anchors)
        parts += [Heading("Probability of improvement"), table, Note(over.IMPROVEMENT_NOTE)]
    efficiency = []
    for kind, title in (
        ("sample_efficiency", "Training episodes"),
        ("label_efficiency_over_games", "Evaluation episodes"),
    ):
        labels = (_STEPS, _NORMALISED)
        efficiency += over_games_chart(title, f"{kind}.png", labels, curves[kind], styles)
    parts += _section("Sample efficiency over games", over.EFFICIENCY_NOTE, efficiency)
    learning = game_charts(
        curves["learning"], styles, "learning_curves", "return of training episodes", True
    )
    drawn = [chart.title for chart in learning if any(each.published for each in chart.series)]
    note = over.CURVES_NOTE + (f" {over.PUBLISHED_NOTE}" if drawn else "")
    note += over.screens_note(drawn)
    parts += _section("Learning curves", note, learning)
    if numbers.windows:
        table = over.windows_table(numbers.windows, anchors)
        parts += [Heading("Beside published returns"), table]
        shown = [each.game for each in numbers.windows]
        parts += [Note(over.WINDOWS_NOTE + over.screens_note(shown))]
    labelled = game_charts(
        curves["label_efficiency"], styles, "label_efficiency", "return of evaluation episodes"
    )
    parts += _section("Label-efficiency curves", over.LABEL_NOTE, labelled)
    parts += _correlations(numbers, styles)
    parts += [Heading("What the columns mean"), Terms(notes(results))]
    parts += [Heading("Rows behind the numbers"), Note(_SOURCES_NOTE), *listed]
    return [*parts, Heading("Inputs"), Files(list(inputs))]


_SOURCES_NOTE = (
    "The files and lines that each row of a table comes from, by agent and game; relative paths "
    "begin where the report was made. sources.csv has the same list."
)


def _section(title: str, note: str, charts: Sequence[Chart]) -> list[Part]:
    return [Heading(title), Note(note), *charts] if charts else []


def _correlations(numbers: Numbers, styles: dict[tuple[str, str], int]) -> list[Part]:
    """Probes beside scores."""
    if not numbers.correlations:
        return []
    columns = probe_columns(numbers.results)
    kinds = {each.kind for each in numbers.correlations}
    charts = [
        probe_chart(column.kind, column.title, f"probe_{number}.png", numbers.results, styles)
        for number, column in enumerate(columns, 1)
        if column.kind in kinds
    ]
    table = over.correlation_table(numbers.correlations, columns, slug(_RESULTS))
    return [Heading("Probes beside scores"), table, Note(over.CORRELATION_NOTE), *charts]


def tables_csv(numbers: Numbers) -> dict[str, str]:
    """{file name: CSV}; tables that a report does not have are left out."""
    files = {
        "scores.csv": exports.results_csv(numbers.results),
        "sources.csv": exports.sources_csv(numbers.sources),
    }
    if any(numbers.curves.values()):
        files["curves.csv"] = exports.curves_csv(numbers.curves)
    if numbers.aggregates:
        files["aggregates.csv"] = exports.aggregates_csv(numbers.aggregates)
    if numbers.improvements:
        files["improvements.csv"] = exports.improvements_csv(numbers.improvements)
    if numbers.windows:
        files["published.csv"] = exports.windows_csv(numbers.windows)
    if numbers.correlations:
        files["correlations.csv"] = exports.correlations_csv(numbers.correlations, numbers.results)
    return files


def report(inputs: Sequence[str], workdir: str) -> str:
    """Writes the report to `workdir`, instead of an earlier one. Returns its tables and warnings.

    inputs, workdir: local, or `gs://bucket/path`.

    Raises:
      UserError: the inputs are invalid (see `load_rows`), or another command works in `workdir`.
      OSError: a file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(reading(path, SCORES, PROBES)) for path in inputs]
        numbers = compute(load_rows([str(folder) for folder in folders], names=inputs))
    parts = contents(numbers, inputs)
    games = list(dict.fromkeys(result.game for result in numbers.results))
    title = f"Report: {', '.join(games) if len(games) <= 4 else f'{len(games)} games'}"

    files: dict[str, bytes | str] = {
        part.file: png(part) for part in parts if isinstance(part, Chart)
    }
    files |= tables_csv(numbers)
    files |= {"report.md": markdown_page(parts), "report.html": html_page(title, parts)}
    with lock_workdir(workdir, "*.csv", "*.png") as place:
        earlier = [file.name for file in place.workdir.iterdir() if _OURS.fullmatch(file.name)]
        place.delete(*(name for name in earlier if name not in files))
        for name, content in files.items():
            write_whole(place.workdir / name, content)
        place.push(*files)
    return printed(parts)


def main() -> None:
    workdir = _WORKDIR.value
    tables = report(_INPUTS.value, workdir)
    print(tables, f"{workdir}/report.md", f"{workdir}/report.html", sep="\n")


if __name__ == "__main__":
    console.run(main)
