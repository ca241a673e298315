"""Sets scores and probes side by side: tables, learning curves, one page to pass on.

    python -m pvn.report --inputs=runs/pong/eval,runs/pong/eval_random,runs/pong/probe \
        --workdir=runs/report

An input is a directory that holds `scores.jsonl`, `probes.jsonl`, or both. Writes `report.md`,
`report.html` (self-contained), `scores.csv`, and `learning_curves_<game>.png` for each game with
training episodes. The same inputs give the same report.
"""

import base64
import csv
import html
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from pvn import config as cfg
from pvn import console
from pvn.errors import UserError
from pvn.evaluation.summary import (
    METHODS,
    Aggregate,
    Curve,
    Estimate,
    Result,
    aggregate,
    learning_curves,
    load_rows,
    summarise,
)
from pvn.files import write_whole

_INPUTS = cfg.define_paths(
    "inputs", "Directories with scores.jsonl or probes.jsonl, comma-separated.", required=True
)
_WORKDIR = cfg.define_path("workdir", None, "Directory to write.", required=True)

# Okabe and Ito's palette without yellow: told apart by colour-blind readers too.
_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
_LINES = ["-", "--", ":", "-."]

_R2_NOTE = (
    "How much of the variance of the discounted return a linear (ridge) probe of the frozen "
    "features explains on held-out data: 1 is all of it, 0 no more than a constant. In brackets "
    "the probe's interval; with several seeds the mean over seeds, and the interval from their "
    "lowest end to their highest. A probe belongs to the features, so each head's row shows it."
)
_RETURN_NOTE = (
    "Mean undiscounted return of the evaluation episodes, in the game's own points, with its 95 % "
    "percentile bootstrap interval over episodes (2,000 resamples). With several seeds: the mean "
    "of the seeds' means, each seed weighing the same, and seeds are resampled first, then the "
    "episodes of each drawn seed. With one seed the interval does not cover training again with "
    "another."
)
_NORMALISED_NOTE = (
    "(return - random) / (human - random): 0 is random play, 1 is a human's. Approximate: the "
    "reference scores were measured with 30 no-op starts and without sticky actions, unlike the "
    "protocol used here. Games without a reference have none."
)
_CURVES_NOTE = (
    "Return of training episodes against agent steps of reward interaction. A point is the mean of "
    "a bin of episodes, the band its 95 % bootstrap interval."
)
_AGGREGATE_NOTE = (
    "Interquartile mean (IQM) of the human-normalised scores of all runs, a run being a seed in a "
    "game, with a 95 % interval by resampling runs within each game (Agarwal et al. 2021). A row "
    "without an interval has a game with a single run. Compare rows that cover the same games."
)


class Table(NamedTuple):
    """Text only, ready to render. The first `num_names` columns are names, the rest numbers."""

    header: list[str]
    rows: list[list[str]]
    num_names: int


def _name(method: str) -> str:
    return METHODS.get(method, method)


def _label(method: str, head: str) -> str:
    return _name(method) if head == "none" else f"{_name(method)}, {head}"


def _estimate(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return "-"
    if estimate.interval is None:
        return format(estimate.mean, form)
    low, high = (format(end, form) for end in estimate.interval)
    return f"{format(estimate.mean, form)} [{low}, {high}]"


def _discounts(results: Sequence[Result]) -> list[float]:
    return sorted({discount for result in results for discount in result.r2})


def results_table(results: Sequence[Result]) -> Table:
    """One row a result, one column of R^2 for each discount probed."""
    discounts = _discounts(results)
    header = ["Game", "Features", "Head"]
    header += [f"Value-probe R² (discount {discount:g})" for discount in discounts]
    header += ["Return", "Episodes", "Seeds", "Human-normalised"]
    rows = [
        [
            result.game,
            _name(result.method),
            result.head,
            *(_estimate(result.r2.get(discount), ".3f") for discount in discounts),
            _estimate(result.score, ",.1f"),
            str(result.num_episodes or "-"),
            str(result.num_seeds or "-"),
            "-" if result.normalised is None else f"{result.normalised:.3f}",
        ]
        for result in results
    ]
    return Table(header, rows, 3)


def aggregate_table(aggregates: Sequence[Aggregate]) -> Table:
    """One row for each (method, head)."""
    rows = [
        [
            _name(each.method),
            each.head,
            str(len(each.games)),
            str(each.num_runs),
            _estimate(each.iqm, ".3f"),
        ]
        for each in aggregates
    ]
    return Table(["Features", "Head", "Games", "Runs", "IQM of human-normalised"], rows, 2)


def notes(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(column, what it means), for the columns that the results have."""
    r2 = [("Value-probe R²", _R2_NOTE)] if _discounts(results) else []
    return [
        *r2,
        ("Return", _RETURN_NOTE),
        ("Episodes, Seeds", "How many evaluation episodes there are, and of how many seeds."),
        ("Human-normalised", _NORMALISED_NOTE),
    ]


def to_markdown(table: Table) -> str:
    """The table in Markdown, padded to be read in a terminal too."""

    def line(cells: Sequence[str], fill: str = " ") -> str:
        padded = [
            cell.ljust(width, fill) if column < table.num_names else cell.rjust(width, fill)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rows = [
        [html.escape(cell, quote=False).replace("\\", "\\\\").replace("|", "\\|") for cell in row]
        for row in (table.header, *table.rows)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rules = ["-" * (width - 1) for width in widths]
    rules = [
        f"{rule}-" if column < table.num_names else f"{rule}:" for column, rule in enumerate(rules)
    ]
    return "\n".join([line(rows[0]), line(rules), *(line(row) for row in rows[1:])])


def to_csv(results: Sequence[Result]) -> str:
    """The results in full precision, raw names; an empty cell is a missing value."""
    discounts = _discounts(results)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ["game", "method", "head"]
    for discount in discounts:
        name = f"value_r2_{discount:g}"
        header += [name, f"{name}_low", f"{name}_high"]
    header += ["return", "return_low", "return_high"]
    writer.writerow([*header, "episodes", "seeds", "human_normalised"])
    for result in results:
        row: list[object] = [result.game, result.method, result.head]
        for estimate in (*(result.r2.get(discount) for discount in discounts), result.score):
            row.append(estimate.mean if estimate else None)
            row += estimate.interval if estimate and estimate.interval else (None, None)
        writer.writerow([*row, result.num_episodes, result.num_seeds, result.normalised])
    return file.getvalue()


def plot(game: str, curves: Sequence[Curve], styles: Mapping[tuple[str, str], int]) -> bytes:
    """A PNG of one game's learning curves; `styles` numbers each (method, head)."""
    with matplotlib.rc_context({"font.size": 12}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        for curve in curves:
            style = styles[curve.method, curve.head]
            colour = _COLOURS[style % len(_COLOURS)]
            axes.plot(
                curve.agent_step,
                curve.score,
                color=colour,
                linestyle=_LINES[style // len(_COLOURS) % len(_LINES)],
                linewidth=2,
                marker="o",
                markersize=4,
                # A dollar sign would begin a formula.
                label=_label(curve.method, curve.head).replace("$", r"\$"),
            )
            axes.fill_between(
                curve.agent_step, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0
            )
        axes.set_title(game)
        axes.set_xlabel("agent steps of reward interaction")
        axes.set_ylabel("return of training episodes")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150)
        return file.getvalue()


def markdown_page(
    results: Sequence[Result],
    aggregates: Sequence[Aggregate],
    pictures: Mapping[str, str],
    inputs: Sequence[str],
) -> str:
    """The report as Markdown; `pictures` are file names by game."""
    parts = ["# Report", to_markdown(results_table(results))]
    if aggregates:
        parts += ["## Over games", to_markdown(aggregate_table(aggregates)), _AGGREGATE_NOTE]
    if pictures:
        parts += ["## Learning curves", _CURVES_NOTE]
        parts += [f"![{game}]({name})" for game, name in pictures.items()]
    parts += ["## What the columns mean"]
    parts += ["\n".join(f"- **{term}**: {meaning}" for term, meaning in notes(results))]
    parts += ["## Inputs", "\n".join(f"- `{name}`" for name in inputs)]
    return "\n\n".join(parts) + "\n"


_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #59636e; --head: #f3f5f7; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #9aa4af; --head: #1d2229; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .75rem; border-bottom: 1px solid var(--line); text-align: left; }
th { background: var(--head); vertical-align: bottom; }
td { white-space: nowrap; } .number { text-align: right; }
.note { color: var(--soft); max-width: 45rem; }
img { display: block; box-sizing: border-box; width: 100%; max-width: 52rem; height: auto;
  margin: 1rem 0; padding: .5rem; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
dl { max-width: 45rem; } dt { font-weight: 600; } dd { margin: 0 0 .75rem; }
"""


def _html_table(table: Table) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = ["" if i < table.num_names else ' class="number"' for i in range(len(cells))]
        return "".join(
            f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
            for kind, cell in zip(kinds, cells, strict=True)
        )

    rows = "\n".join(f"<tr>{line('td', row)}</tr>" for row in table.rows)
    return (
        f'<div class="table"><table>\n<thead><tr>{line("th", table.header)}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def html_page(
    results: Sequence[Result],
    aggregates: Sequence[Aggregate],
    pictures: Mapping[str, bytes],
    inputs: Sequence[str],
) -> str:
    """The report as one page that needs nothing else; `pictures` are PNGs by game."""
    games = list(dict.fromkeys(result.game for result in results))
    title = f"Report: {', '.join(games) if len(games) <= 4 else f'{len(games)} games'}"
    parts = [f"<h1>{html.escape(title)}</h1>", _html_table(results_table(results))]
    if aggregates:
        parts += ["<h2>Over games</h2>", _html_table(aggregate_table(aggregates))]
        parts += [f'<p class="note">{html.escape(_AGGREGATE_NOTE)}</p>']
    if pictures:
        parts += ["<h2>Learning curves</h2>", f'<p class="note">{html.escape(_CURVES_NOTE)}</p>']
    for game, png in pictures.items():
        data = base64.b64encode(png).decode("ascii")
        alt = html.escape(f"Learning curves of {game}")
        parts.append(f'<img alt="{alt}" src="data:image/png;base64,{data}">')
    parts.append("<h2>What the columns mean</h2>\n<dl>")
    parts += [
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>"
        for term, meaning in notes(results)
    ]
    parts.append("</dl>\n<h2>Inputs</h2>\n<ul>")
    parts += [f"<li><code>{html.escape(name)}</code></li>" for name in inputs]
    parts.append("</ul>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _write(path: Path, content: str | bytes) -> None:
    """`write_whole`; a `UserError` where the disk says no."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def report(inputs: Sequence[str], workdir: Path) -> str:
    """Writes the report. Returns its tables in Markdown.

    Raises:
      UserError: see `load_rows`; `workdir` cannot be written.
    """
    episodes, probes = load_rows(inputs)
    results, aggregates = summarise(episodes, probes), aggregate(episodes)
    curves = learning_curves(episodes)
    # One colour for the same thing in every game.
    styles = {pair: i for i, pair in enumerate(dict.fromkeys(curve[1:3] for curve in curves))}
    pictures = {
        game: plot(game, [curve for curve in curves if curve.game == game], styles)
        for game in dict.fromkeys(curve.game for curve in curves)
    }
    names = {game: f"learning_curves_{game}.png" for game in pictures}

    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir {workdir}: {error.strerror}") from error
    for game, png in pictures.items():
        _write(workdir / names[game], png)
    _write(workdir / "scores.csv", to_csv(results))
    _write(workdir / "report.md", markdown_page(results, aggregates, names, inputs))
    _write(workdir / "report.html", html_page(results, aggregates, pictures, inputs))
    tables = [to_markdown(results_table(results))]
    if aggregates:
        tables.append(to_markdown(aggregate_table(aggregates)))
    return "\n\n".join(tables)


def main() -> None:
    workdir = Path(_WORKDIR.value)
    tables = report(_INPUTS.value, workdir)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not know every name's letters
    print(tables, workdir / "report.md", workdir / "report.html", sep="\n")


if __name__ == "__main__":
    console.run(main)
