"""The figures that the benchmarks leave, and the tables that the documentation makes of them.

A table stands between two lines of a Markdown file, `<!-- begin NAME -->` and `<!-- end NAME -->`.
Nobody types a figure there: `python -m benchmarks` writes the tables (`benchmarks.__main__`).
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pvn.errors import UserError
from pvn.storage.files import write_whole

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "benchmarks" / "figures"
DOCUMENTS = tuple(ROOT / name for name in ("README.md", "benchmarks/README.md", "docs/clusters.md"))

COMMANDS = {
    "train_step": "benchmarks.train_step --rounds=5 --end_to_end",
    "floor": "benchmarks.floor --rounds=3",
    "heads": "benchmarks.heads --rounds=3",
    "responses": "benchmarks.responses --rounds=1",
    "evaluate": "benchmarks.evaluate --num_steps=20000",
    "end_to_end": "benchmarks.evaluate --end_to_end --num_envs=8 --num_steps=5000",
    "minatar": "benchmarks.minatar",
    "data": "benchmarks.data --rounds=4",
    "checkpoint": "benchmarks.checkpoint",
    "sizing": "benchmarks.sizing",
    "faults": "benchmarks.faults --kills=20",
}
"""The benchmarks whose figures are kept, and how they are run."""

Row = dict[str, Any]
Figures = Mapping[str, Sequence[Row]]
"""The rows of the last run of each benchmark, by its name in `COMMANDS`."""


def run_benchmark(name: str, command: str, folder: Path = FIGURES) -> None:
    """Runs a benchmark, and keeps its rows in the folder.

    Raises:
      UserError: it failed. What it has printed is kept; if it printed nothing, the figures of its
        last run stay.
    """
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    if result.stdout:
        write_whole(folder / f"{name}.jsonl", result.stdout)
    if result.returncode:
        raise UserError(f"benchmarks: {command}: ended with status {result.returncode}")


def read_figures(folder: Path = FIGURES) -> Figures:
    """The figures that are kept in the folder. A benchmark that was not run has none."""
    found = {name: folder / f"{name}.jsonl" for name in COMMANDS}
    return {
        name: [json.loads(line) for line in file.read_text().splitlines()]
        for name, file in found.items()
        if file.is_file()
    }


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:
        return f"{rounded:,.0f}"
    return np.format_float_positional(rounded, trim="-")


def percent(share: float) -> str:
    return f"{number(100 * share) if share < 0.01 else round(100 * share)} %"


Column = tuple[str, Callable[[Row], str]]
"""A header, and what a row has in that column."""


def markdown(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """A table whose first column is left-aligned, and the others right-aligned."""
    lines = [[header for header, _ in columns]]
    lines += [[cell(row) for _, cell in columns] for row in rows]
    above, *below = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([above, "|---|" + "---:|" * (len(columns) - 1), *below])


def figure(header: str, key: str, form: Callable[[float], str] = number) -> Column:
    """A column of numbers; empty where a row has none."""
    return header, lambda row: "" if row.get(key) is None else form(row[key])


def texts(header: str, text: str) -> Column:
    """A column of texts, with the fields of the row filled in."""
    return header, lambda row: text.format_map(row)


def source(names: Sequence[str], figures: Figures) -> str:
    """A line above a table: when and where these benchmarks ran; and how, if it is one."""
    first = [figures[name][0] for name in names]

    def all_of(*keys: str) -> str:
        return " or ".join(dict.fromkeys(", ".join(str(row[key]) for key in keys) for row in first))

    how = [f"`python -m {COMMANDS[names[0]]}`"] * (len(names) == 1)
    where = f"{all_of('processor', 'device')}, Python {all_of('python')}, JAX {all_of('jax')}"
    return ", ".join([*how, all_of("date"), where]) + ":"


def _cases(rows: Iterable[Row], *cases: str) -> list[Row]:
    return [row for row in rows if row["case"] in cases]


def _network(row: Row) -> str:
    return {"nature": "Nature", "impala": "Impala width 1"}[row["encoder"]]


def _train_step(figures: Figures) -> str:
    published = _cases(figures["train_step"], "published")
    rows = [
        row | {"published_ms": other["ms"], "published_mib": other["peak_memory_mib"]}
        for row, other in zip(_cases(figures["train_step"], "pvn"), published, strict=True)
    ]
    return markdown(
        rows,
        [
            ("encoder, T", lambda row: f"{_network(row)}, {row['num_tasks']:,}"),
            figure("ms per step", "ms"),
            figure("published formulation", "published_ms"),
            figure("ratio", "speedup"),
            figure("share of a 2048³ product", "share_of_matmul", percent),
            figure("peak memory, MiB", "peak_memory_mib"),
            figure("published", "published_mib"),
        ],
    )


def _pretrain(figures: Figures) -> str:
    return markdown(
        _cases(figures["train_step"], "pretrain end to end"),
        [
            figure("`pvn.pretrain`, steps/s", "steps_per_second"),
            figure("bare step", "bare_steps_per_second"),
            figure("share", "share_of_bare", percent),
            figure("waiting for data", "data_wait_share", percent),
        ],
    )


def _floor(figures: Figures) -> str:
    return markdown(
        figures["floor"],
        [
            (
                "encoder, T, batch",
                lambda row: f"{_network(row)}, {row['num_tasks']:,}, {row['batch_size']}",
            ),
            figure("step, ms", "ms"),
            figure("layers, ms", "layers_ms"),
            figure("bytes, ms", "bytes_ms"),
            figure("GB/s", "bandwidth_gb_per_second"),
            figure("share of the floor", "share_of_floor", percent),
        ],
    )


def _heads(figures: Figures) -> str:
    def by_size(case: str) -> dict[tuple[int, int], Row]:
        rows = _cases(figures["heads"], case)
        return {(row["batch_size"], row["num_tasks"]): row for row in rows}

    malloc, plain = by_size("plain_malloc"), by_size("all_values")
    rows = [
        row
        | {
            "plain_ms": plain[size]["ms"],
            "malloc_ms": malloc[size]["ms"],
            "malloc_times": malloc[size]["times_first"],
            "malloc_share": malloc[size]["bandwidth_share"],
        }
        for size, row in by_size("pvn").items()
    ]
    return markdown(
        rows,
        [
            texts("batch, T", "{batch_size}, {num_tasks:,}"),
            figure("ms per step", "ms"),
            figure("times the first", "times_first"),
            figure("share of the bandwidth", "bandwidth_share", percent),
            figure("malloc as it is, ms", "malloc_ms"),
            figure("times the first", "malloc_times"),
            figure("share", "malloc_share", percent),
            figure("all values, ms", "plain_ms"),
        ],
    )


def _responses(figures: Figures) -> str:
    return markdown(
        figures["responses"],
        [
            texts("family, T", "`{indicator}`, {num_tasks:,}"),
            texts("`tasks_per_network`", "{tasks_per_network:,}"),
            figure("states/s", "states_per_second"),
            figure("50,000 states, minutes", "minutes_for_50_000_states"),
        ],
    )


def _evaluate(figures: Figures) -> str:
    return markdown(
        figures["evaluate"],
        [
            texts("head", "`{case}`"),
            figure("agent steps/s", "agent_steps_per_second"),
            figure("bare emulator", "emulator_steps_per_second"),
            figure("share", "share_of_emulator", percent),
        ],
    )


def _end_to_end(figures: Figures) -> str:
    return markdown(
        figures["end_to_end"],
        [
            figure("agent steps/s", "agent_steps_per_second"),
            figure("updates alone", "share_of_updates", percent),
            figure("acting and emulation alone", "share_without_updates", percent),
        ],
    )


_FORMATS = {
    "convert_dopamine": "Dopamine logs",
    "convert_rlds": "RLDS by TFDS",
    "convert_rlds_raw": "RLDS upstream",
}


def _convert(figures: Figures) -> str:
    return markdown(
        _cases(figures["data"], *_FORMATS),
        [
            ("from", lambda row: _FORMATS[row["case"]]),
            figure("frames/s", "frames_per_second"),
            figure("zstd", "floor_zstd_encode_frames_per_second"),
            figure("gunzip", "floor_gunzip_frames_per_second"),
            figure("PNG", "floor_png_decode_frames_per_second"),
        ],
    )


def _sample(figures: Figures) -> str:
    return markdown(
        [row for row in figures["data"] if row["case"] not in _FORMATS],
        [
            ("from", lambda row: row["case"].replace("floor_", "limit: ").replace("_", " ")),
            figure("transitions/s", "transitions_per_second"),
            figure("frames/s", "frames_per_second"),
        ],
    )


def _minatar(figures: Figures) -> str:
    return markdown(
        figures["minatar"],
        [
            texts("command", "`{case}`"),
            texts("steps", "{num_steps:,}"),
            figure("seconds", "seconds"),
        ],
    )


def _checkpoint(figures: Figures) -> str:
    return markdown(
        [row | {"megabytes": row["checkpoint_bytes"] / 1e6} for row in figures["checkpoint"]],
        [
            figure("step, ms", "step_ms"),
            figure("checkpoint, MB", "megabytes"),
            figure("its cost, s", "checkpoint_seconds"),
            figure("share of a run", "share", percent),
        ],
    )


def _faults(figures: Figures) -> str:
    counts = ("tried", "resumed", "refused", "steps_lost", "wrong", "hangs")
    columns = [
        ("fault", lambda row: row["fault"].replace("_", " ")),
        *(figure(name.replace("_", " "), name) for name in counts),
    ]
    if any("skipped" in row for row in figures["faults"]):
        columns.append(("skipped", lambda row: row.get("skipped", "")))
    return markdown(figures["faults"], columns)


def _sizes(case: str, first: str, key: str, batch: int = 0) -> Callable[[Figures], str]:
    """A table with a row for each network and a column for each number of tasks."""

    def network(row: Row) -> str:
        features = f", {row['num_features']}" if "num_features" in row else ""
        return f"{row['encoder'].title()}, {row['width']}{features}"

    def made(figures: Figures) -> str:
        rows: dict[str, dict[str, Any]] = {}
        for row in _cases(figures["sizing"], case):
            if row.get("batch_size", 0) == batch:
                own = rows.setdefault(network(row), {"network": network(row)})
                own[f"T = {row['num_tasks']:,}"] = row[key]
        tasks = list(dict.fromkeys(name for row in rows.values() for name in row))[1:]
        columns = [texts(first, "{network}"), *(figure(name, name) for name in tasks)]
        return markdown(rows.values(), columns)

    return made


def _speed(figures: Figures) -> str:
    """The figures that the README tells."""
    rows: list[tuple[str, str, str]] = []

    def add(name: str, what: str, text: str) -> None:
        rows.append((what, text, f"`{COMMANDS[name].split()[0]}`"))

    for row in _cases(figures["train_step"], "pvn"):
        add(
            "train_step",
            f"train step, {_network(row)}, {row['num_tasks']:,} tasks, batch 32",
            f"{number(row['ms'])} ms; as published {number(row['speedup'])} times as long",
        )
    for row in _cases(figures["heads"], "pvn"):
        if row["num_tasks"] == 10_000:
            text = f"{number(row['times_first'])} times one with 100"
            add("heads", f"a step with 10,000 tasks, batch {row['batch_size']}", text)
    shares = [row["share_of_floor"] for row in figures["floor"]]
    text = f"{percent(min(shares))} to {percent(max(shares))}"
    add("floor", "share of the floor (layers alone, and Adam's bytes)", text)
    for row in _cases(figures["train_step"], "pretrain end to end"):
        text = f"{percent(row['share_of_bare'])} of the bare step's speed"
        add("train_step", "`pvn.pretrain`", text)
    for row in figures["evaluate"]:
        text = f"{percent(row['share_of_emulator'])} of the bare emulator's speed"
        add("evaluate", f"`pvn.evaluate`, {row['case']}", text)
    for row in figures["responses"]:
        if row["num_tasks"] == 100:
            text = f"{number(60 * row['minutes_for_50_000_states'])} s, once"
            add("responses", f"responses of 50,000 states, 100 tasks, `{row['indicator']}`", text)
    for row in _cases(figures["data"], *_FORMATS):
        text = f"{number(row['frames_per_second'])} frames/s"
        add("data", f"`pvn.convert`, {_FORMATS[row['case']]}", text)
    memory, copy = (
        row["transitions_per_second"]
        for row in _cases(figures["data"], "sample_memory", "floor_copy")
    )
    add("data", "batches from memory", f"{percent(memory / copy)} of the speed of copying them")
    table = [dict(zip(("what", "figure", "how"), row, strict=True)) for row in rows]
    return markdown(
        table, [texts("what", "{what}"), texts("figure", "{figure}"), texts("by", "{how}")]
    )


_WIDTH = "encoder, width; batch "
TABLES: dict[str, tuple[tuple[str, ...], Callable[[Figures], str]]] = {
    "speed": (("train_step", "heads", "floor", "evaluate", "responses", "data"), _speed),
    "train_step": (("train_step",), _train_step),
    "pretrain": (("train_step",), _pretrain),
    "floor": (("floor",), _floor),
    "heads": (("heads",), _heads),
    "responses": (("responses",), _responses),
    "evaluate": (("evaluate",), _evaluate),
    "end_to_end": (("end_to_end",), _end_to_end),
    "minatar": (("minatar",), _minatar),
    "convert": (("data",), _convert),
    "sample": (("data",), _sample),
    "checkpoint": (("checkpoint",), _checkpoint),
    "faults": (("faults",), _faults),
    "gflop_32": (("sizing",), _sizes("step", f"{_WIDTH}32", "gflop", 32)),
    "gflop_256": (("sizing",), _sizes("step", f"{_WIDTH}256", "gflop", 256)),
    "temporary_32": (("sizing",), _sizes("step", f"{_WIDTH}32", "temporary_gib", 32)),
    "temporary_256": (("sizing",), _sizes("step", f"{_WIDTH}256", "temporary_gib", 256)),
    "flop_per_byte": (("sizing",), _sizes("step", f"{_WIDTH}256", "flop_per_sent_byte", 256)),
    "state": (("sizing",), _sizes("state", "encoder, width, F", "state_gib")),
}
"""A table's name -> the benchmarks that it is of, and what makes it of their figures."""


def with_tables(text: str, figures: Figures) -> str:
    """A Markdown text with its tables written again. Those without figures stay as they are.

    Raises:
      KeyError: the text names a table that there is not.
    """

    def written(found: re.Match[str]) -> str:
        name = found["name"]
        benchmarks, make = TABLES[name]
        if not set(benchmarks) <= set(figures):
            return found[0]
        table = f"{source(benchmarks, figures)}\n\n{make(figures)}"
        return f"<!-- begin {name} -->\n{table}\n<!-- end {name} -->"

    pattern = r"<!-- begin (?P<name>\w+) -->\n.*?<!-- end (?P=name) -->"
    return re.sub(pattern, written, text, flags=re.DOTALL)


def write_tables(documents: Iterable[Path] = DOCUMENTS, folder: Path = FIGURES) -> None:
    """Writes the tables of the documents again, from the figures in the folder."""
    figures = read_figures(folder)
    for document in documents:
        write_whole(document, with_tables(document.read_text(), figures))
