"""The documentation's tables of figures: each is made of the rows of a benchmark."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tables import (
    COMMANDS,
    DOCUMENTS,
    TABLES,
    number,
    percent,
    read_figures,
    run_benchmark,
    with_tables,
    write_tables,
)
from pvn.errors import UserError

WHERE = {"date": "2026-01-02", "processor": "2 cores of X", "device": "cpu", "python": "3.11.7"}
WHERE |= {"jax": "0.10.2"}


def made(name: str, **figures: Any) -> list[str]:
    """The lines of a table, and the one above it, that is made of these rows."""
    rows = {name: [row | WHERE for row in rows] for name, rows in figures.items()}
    text = with_tables(f"before\n<!-- begin {name} -->\nold\n<!-- end {name} -->\nafter\n", rows)
    lines = text.splitlines()
    assert lines[:2] == ["before", f"<!-- begin {name} -->"]
    assert lines[-2:] == [f"<!-- end {name} -->", "after"]
    return lines[2:-2]


def test_nobody_typed_a_figure() -> None:
    figures = read_figures()
    assert set(figures) == set(COMMANDS)
    for document in DOCUMENTS:
        text = document.read_text()
        assert with_tables(text, figures) == text, document


def test_every_table_stands_somewhere_once() -> None:
    texts = [document.read_text() for document in DOCUMENTS]
    found = [name for text in texts for name in re.findall(r"<!-- begin (\w+) -->", text)]
    assert sorted(found) == sorted(TABLES)
    assert found == [name for text in texts for name in re.findall(r"<!-- end (\w+) -->", text)]


def test_tables_by_hand() -> None:
    row = {"indicator": "own", "num_tasks": 1000, "tasks_per_network": 50}
    row |= {"states_per_second": 1234.5, "minutes_for_50_000_states": 0.6751}
    assert made("responses", responses=[row]) == [
        "`python -m benchmarks.responses --rounds=1`, 2026-01-02, 2 cores of X, cpu, "
        "Python 3.11.7, JAX 0.10.2:",
        "",
        "| family, T | `tasks_per_network` | states/s | 50,000 states, minutes |",
        "|---|---:|---:|---:|",
        "| `own`, 1,000 | 50 | 1,230 | 0.675 |",
    ]
    logs = {"case": "convert_dopamine", "frames_per_second": 100.0}
    logs["floor_zstd_encode_frames_per_second"] = 7
    rlds = {"case": "convert_rlds", "frames_per_second": 100.0}
    rlds["floor_png_decode_frames_per_second"] = 7
    assert made("convert", data=[logs, rlds, {"case": "floor_copy"}])[2:] == [
        "| from | frames/s | zstd | gunzip | PNG |",
        "|---|---:|---:|---:|---:|",
        "| Dopamine logs | 100 | 7 |  |  |",
        "| RLDS by TFDS | 100 |  |  | 7 |",
    ]
    sizes = [
        {"case": "step", "encoder": "nature", "width": 1, "num_tasks": count, "batch_size": batch}
        | {"gflop": batch * count}
        for count in (1, 20)
        for batch in (32, 256)
    ]
    assert made("gflop_32", sizing=sizes)[2:] == [
        "| encoder, width; batch 32 | T = 1 | T = 20 |",
        "|---|---:|---:|",
        "| Nature, 1 | 32 | 640 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,230"), (99.96, "100"), (40.04, "40"), (0.07081, "0.0708"), (1e-5, "0.00001")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_percents() -> None:
    assert (percent(1.074), percent(0.25), percent(0.00133)) == ("107 %", "25 %", "0.133 %")


def test_a_run_is_kept_and_told(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("<!-- begin responses -->\nold\n<!-- end responses -->\n")
    write_tables([document], tmp_path)
    assert "old" in document.read_text()  # without figures
    run_benchmark(
        "responses", "benchmarks.responses --rounds=1 --cases=local_network:9:9", tmp_path
    )
    (row,) = read_figures(tmp_path)["responses"]
    write_tables([document], tmp_path)
    assert f"| 9 | {number(row['states_per_second'])} |" in document.read_text()
    with pytest.raises(UserError, match=r"benchmarks\.floor --no: ended with status 1$"):
        run_benchmark("responses", "benchmarks.floor --no", tmp_path)
    assert [json.loads((tmp_path / "responses.jsonl").read_text())] == [row]  # it stays


def test_an_unknown_benchmark(run: Callable) -> None:
    result = run("benchmarks", "--only=heads,nothing")
    assert result.returncode == 1
    assert result.stderr.startswith("error: --only: nothing, expected some of train_step, floor")
    assert result.stderr.count("\n") == 1
