r"""Compares scores and probes of several runs: tables, learning curves and one page.

    python -m pvn.report --inputs=runs/pong/eval,runs/pong/eval_random,runs/pong/probe \
        --workdir=runs/report

An input is a directory that holds `scores.jsonl`, `probes.jsonl`, or both. The command writes
`report.md`, `report.html` (self-contained), `scores.csv`, and `learning_curves_<game>.png` for each
game with training episodes. The same inputs give the same report.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

from pvn import config as cfg
from pvn import console
from pvn.evaluation.records import PROBES, SCORES
from pvn.files import write_whole
from pvn.remote import reading
from pvn.run_directory import lock_workdir
from pvn.statistics.load import load_rows
from pvn.statistics.page import (
    Files,
    Heading,
    Note,
    Part,
    Picture,
    Table,
    Terms,
    html_page,
    markdown_page,
    to_markdown,
)
from pvn.statistics.summary import (
    Aggregate,
    Curve,
    Result,
    aggregate,
    learning_curves,
    summarise,
)
from pvn.statistics.tables import agent_label, aggregate_table, notes, results_table, to_csv

_INPUTS = cfg.define_paths(
    "inputs", "Directories with scores.jsonl or probes.jsonl, comma-separated.", required=True
)
_WORKDIR = cfg.define_path("workdir", None, "Directory to write.", required=True, local=False)

# Okabe and Ito's palette without yellow. Colour-blind readers can distinguish its colours.
_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
_LINES = ["-", "--", ":", "-."]

_CURVES_NOTE = (
    "Return of training episodes against agent steps with rewards. A point is the mean over a bin "
    "of episodes. The band is its 95 % bootstrap interval."
)
_AGGREGATE_NOTE = (
    "Interquartile mean (IQM) of the human-normalised scores of all runs. A run is one seed in one "
    "game. The 95 % interval resamples runs within each game (Agarwal et al. 2021). A row without "
    "an interval has a game with a single run. Compare only rows that cover the same games."
)


def plot(curves: Sequence[Curve], styles: Mapping[tuple[str, str], int]) -> bytes:
    """Draws the learning curves of one game as a PNG. `styles`: (agent, head) -> number."""
    with matplotlib.rc_context({"font.size": 12}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        lines = []
        for curve in curves:
            style = styles[curve.agent, curve.head]
            colour = _COLOURS[style % len(_COLOURS)]
            lines += axes.plot(
                curve.agent_step,
                curve.episode_return,
                color=colour,
                linestyle=_LINES[style // len(_COLOURS) % len(_LINES)],
                linewidth=2,
                marker="o",
                markersize=4,
            )
            axes.fill_between(
                curve.agent_step, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0
            )
        axes.set_title(curves[0].game)
        axes.set_xlabel("agent steps with rewards")
        axes.set_ylabel("return of training episodes")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.25)
        # A dollar sign would begin a formula. The legend gets the labels as an argument, because
        # matplotlib hides a line whose own label begins with an underscore.
        labels = [agent_label(curve.agent, curve.head).replace("$", r"\$") for curve in curves]
        axes.legend(lines, labels, frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150)
        return file.getvalue()


def contents(
    results: Sequence[Result],
    aggregates: Sequence[Aggregate],
    pictures: Sequence[Picture],
    inputs: Sequence[str],
) -> list[Part]:
    """The parts of a report, in order."""
    parts: list[Part] = [results_table(results)]
    if aggregates:
        parts += [Heading("Over games"), aggregate_table(aggregates), Note(_AGGREGATE_NOTE)]
    if pictures:
        parts += [Heading("Learning curves"), Note(_CURVES_NOTE), *pictures]
    parts += [Heading("What the columns mean"), Terms(notes(results))]
    return [*parts, Heading("Inputs"), Files(list(inputs))]


def report(inputs: Sequence[str], workdir: str) -> str:
    """Writes the report to `workdir`. Returns its tables in Markdown.

    inputs, workdir: local, or `gs://bucket/path`.

    Raises:
      UserError: the inputs are invalid (see `load_rows`), or another command works in `workdir`.
      OSError: a file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(reading(path, SCORES, PROBES)) for path in inputs]
        episodes, probes = load_rows([str(folder) for folder in folders])
    results, curves = summarise(episodes, probes), learning_curves(episodes)
    # An (agent, head) has the same colour in every game.
    styles = {pair: i for i, pair in enumerate(dict.fromkeys(curve[1:3] for curve in curves))}
    pictures = [
        Picture(
            game,
            f"learning_curves_{game}.png",
            plot([curve for curve in curves if curve.game == game], styles),
        )
        for game in dict.fromkeys(curve.game for curve in curves)
    ]
    parts = contents(results, aggregate(episodes), pictures, inputs)
    games = list(dict.fromkeys(result.game for result in results))
    title = f"Report: {', '.join(games) if len(games) <= 4 else f'{len(games)} games'}"

    files: dict[str, bytes | str] = {picture.file: picture.png for picture in pictures}
    files |= {"scores.csv": to_csv(results), "report.md": markdown_page(parts)}
    files["report.html"] = html_page(title, parts)
    with lock_workdir(workdir) as place:
        for name, content in files.items():
            write_whole(place.workdir / name, content)
        place.push(*files)
    return "\n\n".join(to_markdown(part) for part in parts if isinstance(part, Table))


def main() -> None:
    workdir = _WORKDIR.value
    tables = report(_INPUTS.value, workdir)
    print(tables, f"{workdir}/report.md", f"{workdir}/report.html", sep="\n")


if __name__ == "__main__":
    console.run(main)
