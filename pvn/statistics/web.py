"""A report as one HTML page that needs no network.

Curves are drawn by uPlot, tables are sorted by sortable-tablesort (see vendor/). page.css and
page.js hold the style and the calls of uPlot. A content security policy forbids any request.
"""

import html
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pvn.statistics.page import (
    Cell,
    Chart,
    Files,
    Heading,
    Note,
    Origins,
    Part,
    Table,
    Terms,
    is_link,
    text_of,
)

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def slug(text: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return "".join(c for c in text.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _bar(cell: Cell, low: float, high: float) -> str:
    """A drawing of a cell's interval on the scale from `low` to `high`."""
    if cell.value is None:
        return ""

    def place(value: float) -> str:
        return f"{4 + 112 * (value - low) / ((high - low) or 1):.1f}"

    middle = place(cell.value)
    line = ""
    if cell.interval is not None:
        first, last = map(place, cell.interval)
        line = f'<line x1="{first}" x2="{last}" y1="5" y2="5"/>'
    return (
        '<svg class="bar" viewBox="0 0 120 10" aria-hidden="true">'
        f'<line class="track" x1="4" x2="116" y1="5" y2="5"/>{line}'
        f'<circle cx="{middle}" cy="5" r="3.5"/></svg>'
    )


def _cell(cell: str | Cell, scale: tuple[float, float] | None, is_name: bool) -> str:
    text = html.escape(text_of(cell))
    if not isinstance(cell, Cell):
        return f"<td>{text}</td>" if is_name else f'<td class="number">{text}</td>'
    if cell.link:
        return f'<td class="number"><a href="#{cell.link}">{text}</a></td>'
    value = "" if cell.value is None else repr(cell.value)
    bar = _bar(cell, *scale) if scale else ""
    return f'<td class="number" data-sort="{value}">{text}{bar}</td>'


def _scale(table: Table, column: int) -> tuple[float, float] | None:
    """The range of a column whose intervals are drawn."""
    cells = [row[column] for row in table.rows]
    found = [cell for cell in cells if isinstance(cell, Cell) and cell.value is not None]
    if not table.bars or not any(cell.interval for cell in found):
        return None
    ends = [end for cell in found for end in (cell.value or 0.0, *(cell.interval or ()))]
    return min(ends), max(ends)


def _table(table: Table) -> str:
    columns = range(len(table.header))
    scales = [_scale(table, column) for column in columns]
    links = [is_link(table, i) for i in columns]
    header = "".join(
        f"<th{_classes(('number', i >= table.num_names), ('no-sort', links[i]))}>"
        f"{html.escape(text)}</th>"
        for i, text in enumerate(table.header)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(_cell(cell, scales[i], i < table.num_names) for i, cell in enumerate(row))
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="table"><table class="sortable n-last">\n<thead><tr>{header}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _classes(*flags: tuple[str, bool]) -> str:
    names = " ".join(name for name, is_set in flags if is_set)
    return f' class="{names}"' if names else ""


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def chart_data(chart: Chart) -> dict[str, Any]:
    """What page.js draws. uPlot needs one ascending x for all series, so others have a null.

    Lines share an x that they have in common. Points do not: each is one entry.
    """
    keys: dict[tuple[float, ...], None] = {}
    places = []
    for number, series in enumerate(chart.series):
        own = [
            (float(x), number, point) if chart.points else (float(x),)
            for point, x in enumerate(series.x)
        ]
        places.append(own)
        keys |= dict.fromkeys(own)
    index = {key: i for i, key in enumerate(sorted(keys))}

    def spread(values: Sequence[Any], own: Sequence[tuple[float, ...]]) -> list[Any]:
        column: list[Any] = [None] * len(index)
        for key, value in zip(own, values, strict=True):
            column[index[key]] = value
        return column

    drawn = []
    for series, own in zip(chart.series, places, strict=True):
        fields: dict[str, Any] = {"label": series.label, "style": series.style}
        for name, values in (("y", series.y), ("low", series.low), ("high", series.high)):
            fields[name] = spread(_numbers(values), own)
        if series.published:
            fields["published"] = True
        if series.names:
            fields["names"] = spread(series.names, own)
        drawn.append(fields)
    x = _numbers(np.array([key[0] for key in index]))
    labels = {"xLabel": chart.x_label, "yLabel": chart.y_label}
    return {"x": x, **labels, "points": chart.points, "series": drawn}


def _chart(chart: Chart) -> str:
    title = html.escape(chart.title)
    data = json.dumps(chart_data(chart), separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<figure class="chart"><figcaption>{title}</figcaption>\n'
        f'<div role="img" aria-label="{title}: {html.escape(chart.y_label)} against '
        f'{html.escape(chart.x_label)}; the CSV files hold the numbers"></div>\n'
        f'<script type="application/json">{data}</script></figure>'
    )


def _origins(part: Origins) -> str:
    lines = [
        f'<details id="{part.anchor}"><summary>{html.escape(part.name)} '
        f"({len(part.games)} game{'s' if len(part.games) != 1 else ''})</summary>"
    ]
    for game in part.games:
        rows = "".join(
            f"<li>{html.escape(what)}: <code>{html.escape(where)}</code></li>"
            for what, where in game.rows
        )
        lines.append(f'<h3 id="{game.anchor}">{html.escape(game.name)}</h3><ul>{rows}</ul>')
    return "\n".join([*lines, "</details>"])


def _part(part: Part) -> str:
    match part:
        case Heading(text):
            return f'<h2 id="{slug(text)}">{html.escape(text)}</h2>'
        case Table():
            return _table(part)
        case Note(text, warning):
            return f'<p class="{"warning" if warning else "note"}">{html.escape(text)}</p>'
        case Chart():
            return _chart(part)
        case Terms(pairs):
            lines = [
                f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>"
                for term, meaning in pairs
            ]
            return "\n".join(["<dl>", *lines, "</dl>"])
        case Files(names):
            lines = [f"<li><code>{html.escape(name)}</code></li>" for name in names]
            return "\n".join(["<ul>", *lines, "</ul>"])
        case Origins():
            return _origins(part)


def _body(parts: Sequence[Part]) -> str:
    """The parts, with neighbouring charts side by side."""
    lines = []
    for is_chart, group in groupby(parts, lambda part: isinstance(part, Chart)):
        drawn = "\n".join(map(_part, group))
        lines.append(f'<div class="charts">\n{drawn}\n</div>' if is_chart else drawn)
    return "\n".join(lines)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def html_page(title: str, parts: Sequence[Part]) -> str:
    """The report as one self-contained page."""
    title = html.escape(title)
    links = [
        f'<a href="#{slug(part.text)}">{html.escape(part.text)}</a>'
        for part in parts
        if isinstance(part, Heading)
    ]
    style = _read("vendor/uPlot.min.css") + _read("page.css")
    scripts = []
    if any(isinstance(part, Chart) for part in parts):
        licence = _read("vendor/uPlot.LICENSE").strip()
        scripts += [f"/*\nuPlot\n{licence}\n*/\n{_read('vendor/uPlot.iife.min.js')}"]
    scripts += [_read(f"vendor/{name}") for name in ("sortable.min.js", "sortable.a11y.min.js")]
    scripts += [_read("page.js")]
    code = "\n".join(f"<script>\n{script.strip()}\n</script>" for script in scripts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n<nav>{' '.join(links)}</nav>\n{_body(parts)}\n{code}\n"
        "</body>\n</html>\n"
    )
