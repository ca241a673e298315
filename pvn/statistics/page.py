"""A page that consists of parts, and its Markdown and HTML."""

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple


class Heading(NamedTuple):
    """The heading of a section."""

    text: str


class Table(NamedTuple):
    """A table of text. The first `num_names` columns hold names, the others numbers."""

    header: list[str]
    rows: list[list[str]]
    num_names: int


class Note(NamedTuple):
    """A paragraph."""

    text: str


class Picture(NamedTuple):
    """A PNG image, and the name of its file in the report's directory."""

    game: str
    file: str
    png: bytes


class Terms(NamedTuple):
    """A list of (term, meaning)."""

    pairs: list[tuple[str, str]]


class Files(NamedTuple):
    """A list of file names."""

    names: list[str]


Part = Heading | Table | Note | Picture | Terms | Files


def to_markdown(table: Table) -> str:
    """The table in Markdown, with aligned columns for reading in a terminal."""

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


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Table():
            return to_markdown(part)
        case Note(text):
            return text
        case Picture(game, file):
            return f"![{game}]({file})"
        case Terms(pairs):
            return "\n".join(f"- **{term}**: {meaning}" for term, meaning in pairs)
        case Files(names):
            return "\n".join(f"- `{name}`" for name in names)


def markdown_page(parts: Sequence[Part]) -> str:
    """The report as Markdown. It refers to the files of the pictures."""
    return "\n\n".join(["# Report", *map(_markdown, parts)]) + "\n"


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


def _html(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Table():
            return _html_table(part)
        case Note(text):
            return f'<p class="note">{html.escape(text)}</p>'
        case Picture(game, _, png):
            data = base64.b64encode(png).decode("ascii")
            alt = html.escape(f"Learning curves of {game}")
            return f'<img alt="{alt}" src="data:image/png;base64,{data}">'
        case Terms(pairs):
            lines = [
                f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>"
                for term, meaning in pairs
            ]
            return "\n".join(["<dl>", *lines, "</dl>"])
        case Files(names):
            lines = [f"<li><code>{html.escape(name)}</code></li>" for name in names]
            return "\n".join(["<ul>", *lines, "</ul>"])


def html_page(title: str, parts: Sequence[Part]) -> str:
    """The report as one self-contained page."""
    title = html.escape(title)
    body = "\n".join([f"<h1>{title}</h1>", *map(_html, parts)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )
