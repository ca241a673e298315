"""The parts of a report, and their Markdown."""

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Heading(NamedTuple):
    """The heading of a section."""

    text: str


class Cell(NamedTuple):
    """A cell with a number."""

    text: str
    value: float | None = None  # by which a column is sorted; None: missing
    interval: tuple[float, float] | None = None
    link: str = ""  # the anchor that the text leads to


class Table(NamedTuple):
    """A table. The first `num_names` columns hold names, the others numbers."""

    header: list[str]
    rows: list[list[str | Cell]]
    num_names: int
    bars: bool = False  # whether a page may draw intervals as bars


class Note(NamedTuple):
    """A paragraph."""

    text: str
    warning: bool = False  # stands out; the text may hold names


class Series(NamedTuple):
    """One curve, or one group of points, of a chart."""

    label: str
    x: np.ndarray  # [K]
    y: np.ndarray  # [K]
    low: np.ndarray  # [K], NaN where there is no interval
    high: np.ndarray  # [K]
    style: int  # the number of a colour, then of a dash
    published: bool = False  # muted, with whiskers
    names: tuple[str, ...] = ()  # of the points


class Chart(NamedTuple):
    """A picture of several series."""

    title: str
    file: str  # the name of its PNG
    x_label: str
    y_label: str
    series: list[Series]
    points: bool = False  # points with whiskers, no lines


class Terms(NamedTuple):
    """A list of (term, meaning)."""

    pairs: list[tuple[str, str]]


class Files(NamedTuple):
    """A list of file names."""

    names: list[str]


class Origin(NamedTuple):
    """The files and lines behind the numbers of one agent and head in one game."""

    anchor: str
    name: str
    rows: list[tuple[str, str]]  # (what, for example "eval, seed 0"; file and lines)


class Origins(NamedTuple):
    """All origins of one agent and head."""

    anchor: str
    name: str
    games: list[Origin]


Part = Heading | Table | Note | Chart | Terms | Files | Origins


def text_of(cell: str | Cell) -> str:
    """The text of a cell."""
    return cell.text if isinstance(cell, Cell) else cell


def is_link(table: Table, column: int) -> bool:
    """Whether the cells of a column are links."""
    cells = [row[column] for row in table.rows]
    return all(isinstance(cell, Cell) and bool(cell.link) for cell in cells)


def to_markdown(table: Table, links: bool = False) -> str:
    """The table in Markdown, with aligned columns for reading in a terminal.

    links: whether to have the columns of links to anchors.
    """

    def line(cells: Sequence[str], fill: str = " ") -> str:
        padded = [
            cell.ljust(width, fill) if column < table.num_names else cell.rjust(width, fill)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    def written(cell: str | Cell) -> str:
        text = _escape(text_of(cell)).replace("|", "\\|")
        return f"[{text}](#{cell.link})" if isinstance(cell, Cell) and cell.link else text

    shown = [i for i in range(len(table.header)) if links or not is_link(table, i)]
    lines: list[Sequence[str | Cell]] = [table.header, *table.rows]
    rows = [[written(row[i]) for i in shown] for row in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rules = ["-" * (width - 1) for width in widths]
    rules = [
        f"{rule}-" if column < table.num_names else f"{rule}:" for column, rule in enumerate(rules)
    ]
    return "\n".join([line(rows[0]), line(rules), *(line(row) for row in rows[1:])])


def _escape(text: str) -> str:
    return re.sub(r"([\\*`])", r"\\\1", html.escape(text, quote=False))


def _origins(part: Origins) -> str:
    lines = [f'### <a id="{part.anchor}"></a>{_escape(part.name)}', ""]
    for game in part.games:
        lines.append(f'- <a id="{game.anchor}"></a>**{game.name}**')
        lines += [f"  - {_escape(what)}: `{where}`" for what, where in game.rows]
    return "\n".join(lines)


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Table():
            return to_markdown(part, links=True)
        case Note(text, warning):
            return f"> **Warning:** {_escape(text)}" if warning else text
        case Chart(title, file):
            return f"![{_escape(title)}]({file})"
        case Terms(pairs):
            return "\n".join(f"- **{_escape(term)}**: {meaning}" for term, meaning in pairs)
        case Files(names):
            return "\n".join(f"- `{name}`" for name in names)
        case Origins():
            return _origins(part)


def printed(parts: Sequence[Part]) -> str:
    """What a terminal shows of a report: its tables and warnings, as Markdown."""
    shown = []
    for part in parts:
        if isinstance(part, Table):
            shown.append(to_markdown(part))
        elif isinstance(part, Note) and part.warning:
            shown.append(f"Warning: {part.text}")
    return "\n\n".join(shown)


def markdown_page(parts: Sequence[Part]) -> str:
    """The report as Markdown. It refers to the files of the charts."""
    return "\n\n".join(["# Report", *map(_markdown, parts)]) + "\n"
