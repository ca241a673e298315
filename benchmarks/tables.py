"""The tables that the documentation makes of the benchmarks' figures.

A table stands between two lines of a Markdown file, `<!-- begin NAME -->` and `<!-- end NAME -->`.
`DOCUMENTS` has the files. Nobody types a figure there: `python -m benchmarks` writes the tables.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "benchmarks" / "figures"
DOCUMENTS = ("README.md", "benchmarks/README.md", "docs/clusters.md")

COMMANDS = {
    "train_step": "benchmarks.train_step --rounds=5 --end_to_end",
    "floor": "benchmarks.floor --rounds=3",
    "heads": "benchmarks.heads --rounds=3",
    "responses": "benchmarks.responses --rounds=1",
    "evaluate": "benchmarks.evaluate --num_steps=20000",
    "end_to_end": "benchmarks.evaluate --end_to_end --num_envs=8 --num_steps=5000",
    "data": "benchmarks.data --rounds=4",
    "checkpoint": "benchmarks.checkpoint",
    "sizing": "benchmarks.sizing",
    "faults": "benchmarks.faults --kills=50",
}
"""The benchmarks whose figures are kept, and how they are run."""

Figures = dict[str, list[dict[str, Any]]]
"""The rows of the last run of each benchmark, by its name in `COMMANDS`."""


def read_figures() -> Figures:
    """The figures that are kept, in benchmarks/figures/. A benchmark that was not run has none."""
    found = {name: FIGURES / f"{name}.jsonl" for name in COMMANDS}
    return {
        name: [json.loads(line) for line in file.read_text().splitlines()]
        for name, file in found.items()
        if file.is_file()
    }


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is left-aligned, and the others right-aligned."""
    above, *below = (f"| {' | '.join(line)} |" for line in [header, *rows])
    return "\n".join([above, "|---|" + "---:|" * (len(header) - 1), *below])


def source(names: Sequence[str], figures: Figures) -> str:
    """When and where these benchmarks ran, and how, if there is one: a line above a table."""
    first = [figures[name][0] for name in names]

    def all_of(*keys: str) -> str:
        return " or ".join(dict.fromkeys(", ".join(str(row[key]) for key in keys) for row in first))

    how = [f"`python -m {COMMANDS[names[0]]}`"] * (len(names) == 1)
    where = f"{all_of('processor', 'device')}, Python {all_of('python')}, JAX {all_of('jax')}"
    return ", ".join([*how, all_of("date"), where]) + ":"


def _network(row: dict[str, Any]) -> str:
    return {"nature": "Nature", "impala": "Impala width 1"}[row["encoder"]]


def _train_step(figures: Figures) -> str:
    rows = figures["train_step"]
    pairs = zip(rows[:-1:2], rows[1:-1:2], strict=True)
    return markdown(
        [
            *("encoder, T", "ms per step", "published formulation", "ratio"),
            *("share of a 2048³ product", "peak memory, MiB", "published"),
        ],
        [
            [
                *(f"{_network(ours)}, {ours['num_tasks']:,}", number(ours["ms"])),
                *(number(published["ms"]), number(ours["speedup"])),
                *(percent(ours["share_of_matmul"]), number(ours["peak_memory_mib"])),
                number(published["peak_memory_mib"]),
            ]
            for ours, published in pairs
        ],
    )


def _pretrain(figures: Figures) -> str:
    row = figures["train_step"][-1]
    return markdown(
        ["`pvn.pretrain`, steps/s", "bare step", "share", "waiting for data"],
        [
            [
                *(number(row["steps_per_second"]), number(row["bare_steps_per_second"])),
                *(percent(row["share_of_bare"]), percent(row["data_wait_share"])),
            ]
        ],
    )


def _floor(figures: Figures) -> str:
    return markdown(
        ["encoder, T, batch", "step, ms", "layers, ms", "bytes, ms", "GB/s", "share of the floor"],
        [
            [
                f"{_network(row)}, {row['num_tasks']:,}, {row['batch_size']}",
                *(number(row[key]) for key in ("ms", "layers_ms", "bytes_ms")),
                *(number(row["bandwidth_gb_per_second"]), percent(row["share_of_floor"])),
            ]
            for row in figures["floor"]
        ],
    )


def _heads(figures: Figures) -> str:
    rows = figures["heads"]

    def key(row: dict[str, Any]) -> tuple[int, int]:
        return row["batch_size"], row["num_tasks"]

    plain = {key(row): row["ms"] for row in rows if row["case"] == "all_values"}
    return markdown(
        ["batch, T", "ms per step", "times the first", "all values, ms", "share of the bandwidth"],
        [
            [
                f"{row['batch_size']}, {row['num_tasks']:,}",
                *(number(row["ms"]), number(row["times_first"]), number(plain[key(row)])),
                percent(row["bandwidth_share"]) if row["bandwidth_share"] else "",
            ]
            for row in rows
            if row["case"] == "pvn"
        ],
    )


def _responses(figures: Figures) -> str:
    return markdown(
        ["family, T", "`tasks_per_network`", "states/s", "50,000 states, minutes"],
        [
            [
                f"`{row['indicator']}`, {row['num_tasks']:,}",
                *(f"{row['tasks_per_network']:,}", number(row["states_per_second"])),
                number(row["minutes_for_50_000_states"]),
            ]
            for row in figures["responses"]
        ],
    )


def _evaluate(figures: Figures) -> str:
    return markdown(
        ["head", "agent steps/s", "bare emulator", "share"],
        [
            [
                *(row["case"], number(row["agent_steps_per_second"])),
                *(number(row["emulator_steps_per_second"]), percent(row["share_of_emulator"])),
            ]
            for row in figures["evaluate"]
        ],
    )


def _end_to_end(figures: Figures) -> str:
    (row,) = figures["end_to_end"]
    return markdown(
        ["DQN from pixels, agent steps/s", "updates alone", "acting and emulation alone"],
        [
            [
                *(number(row["agent_steps_per_second"]), percent(row["share_of_updates"])),
                percent(row["share_without_updates"]),
            ]
        ],
    )


_SOURCES = {"dopamine": "Dopamine logs", "rlds": "RLDS by TFDS", "rlds_raw": "RLDS upstream"}


def _convert(figures: Figures) -> str:
    limits = ("zstd", "gunzip", "png")

    def limit(row: dict[str, Any], name: str) -> str:
        speed = row.get(f"floor_{name}_frames_per_second")
        return number(speed) if speed else ""

    return markdown(
        ["from", "frames/s", "zstd", "gunzip", "PNG"],
        [
            [
                _SOURCES[row["case"].removeprefix("convert_")],
                number(row["frames_per_second"]),
                *(limit(row, name) for name in limits),
            ]
            for row in figures["data"]
            if row["case"].startswith("convert_")
        ],
    )


def _sample(figures: Figures) -> str:
    return markdown(
        ["from", "transitions/s", "frames/s"],
        [
            [
                row["case"].replace("floor_", "limit: ").replace("_", " "),
                *(
                    number(row[key]) if key in row else ""
                    for key in ("transitions_per_second", "frames_per_second")
                ),
            ]
            for row in figures["data"]
            if not row["case"].startswith("convert_")
        ],
    )


def _checkpoint(figures: Figures) -> str:
    (row,) = figures["checkpoint"]
    return markdown(
        ["step, ms", "checkpoint, MB", "its cost, s", "share of a run"],
        [
            [
                *(number(row["step_ms"]), number(row["checkpoint_bytes"] / 1e6)),
                *(number(row["checkpoint_seconds"]), f"{100 * row['share']:.2g} %"),
            ]
        ],
    )


def _faults(figures: Figures) -> str:
    counts = ("tried", "resumed", "refused", "steps_lost", "wrong", "hangs")
    return markdown(
        ["fault", *(name.replace("_", " ") for name in counts)],
        [
            [row["fault"].replace("_", " "), *(str(row.get(name, "skipped")) for name in counts)]
            for row in figures["faults"]
        ],
    )


def _sizes(rows: Sequence[dict[str, Any]], case: str, title: str, value: str, batch: int) -> str:
    """A row for each network and a column for each number of tasks."""

    def name(row: dict[str, Any]) -> str:
        features = f", {row['num_features']}" if "num_features" in row else ""
        return f"{row['encoder'].title()}, {row['width']}{features}"

    chosen = [row for row in rows if (row["case"], row.get("batch_size", 0)) == (case, batch)]
    tasks = sorted({row["num_tasks"] for row in chosen})
    found = {(name(row), row["num_tasks"]): number(row[value]) for row in chosen}
    return markdown(
        [title, *(f"T = {count:,}" for count in tasks)],
        [
            [network, *(found[network, count] for count in tasks)]
            for network in dict.fromkeys(map(name, chosen))
        ],
    )


def _speed(figures: Figures) -> str:
    """The figures that the README tells."""
    rows: list[tuple[str, str, str]] = []
    for ours in figures["train_step"][:-1:2]:
        what = f"train step, {_network(ours)}, {ours['num_tasks']:,} tasks, batch 32"
        text = f"{number(ours['ms'])} ms; the published formulation takes "
        rows.append((what, f"{text}{number(ours['speedup'])} times as long", "train_step"))
    for row in figures["heads"]:
        if row["case"] == "pvn" and row["num_tasks"] == 10_000:
            what = f"a step with 10,000 tasks, batch {row['batch_size']}"
            rows.append((what, f"{number(row['times_first'])} times one with 100", "heads"))
    shares = [row["share_of_floor"] for row in figures["floor"]]
    text = f"{percent(min(shares)).removesuffix(' %')} to {percent(max(shares))}"
    rows.append(("share of the floor (layers alone, and Adam's bytes)", text, "floor"))
    whole = figures["train_step"][-1]
    rows.append(
        ("`pvn.pretrain`", f"{percent(whole['share_of_bare'])} of the bare step", "train_step")
    )
    for row in figures["evaluate"]:
        text = f"{percent(row['share_of_emulator'])} of the bare emulator"
        rows.append((f"`pvn.evaluate`, {row['case']}", text, "evaluate"))
    for row in figures["responses"]:
        if row["num_tasks"] == 100:
            what = f"responses of 50,000 states, 100 tasks, `{row['indicator']}`"
            text = f"{number(60 * row['minutes_for_50_000_states'])} s, once"
            rows.append((what, text, "responses"))
    for row in figures["data"]:
        if row["case"].startswith("convert_"):
            what = f"`pvn.convert`, {_SOURCES[row['case'].removeprefix('convert_')]}"
            rows.append((what, f"{number(row['frames_per_second'])} frames/s", "data"))
    drawn = {row["case"]: row for row in figures["data"]}
    memory, copy = (
        drawn[case]["transitions_per_second"] for case in ("sample_memory", "floor_copy")
    )
    share = percent(memory / copy)
    rows.append(("batches from memory", f"{share} of the speed of copying them", "data"))
    return markdown(
        ["what", "figure", "`python -m`"],
        [
            [what, text, f"`benchmarks.{COMMANDS[name].split()[0][11:]}`"]
            for what, text, name in rows
        ],
    )


def _sizing(
    case: str, title: str, value: str, batch: int = 0
) -> tuple[tuple[str, ...], Callable[[Figures], str]]:
    return ("sizing",), lambda figures: _sizes(figures["sizing"], case, title, value, batch)


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
    "convert": (("data",), _convert),
    "sample": (("data",), _sample),
    "checkpoint": (("checkpoint",), _checkpoint),
    "faults": (("faults",), _faults),
    "gflop_32": _sizing("step", f"{_WIDTH}32", "gflop", 32),
    "gflop_256": _sizing("step", f"{_WIDTH}256", "gflop", 256),
    "temporary_32": _sizing("step", f"{_WIDTH}32", "temporary_gib", 32),
    "temporary_256": _sizing("step", f"{_WIDTH}256", "temporary_gib", 256),
    "flop_per_byte": _sizing("step", f"{_WIDTH}256", "flop_per_sent_byte", 256),
    "state": _sizing("state", "encoder, width, F", "state_gib"),
}
"""A table's name -> the benchmarks that it is of, and what makes it of their figures."""


def write_tables(text: str, figures: Figures) -> str:
    """A Markdown text with its tables written again. Figures that are missing stay as they are.

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
