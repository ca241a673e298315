"""The documentation's tables of figures: each is made of the rows of a benchmark."""

import re
from collections.abc import Callable

import pytest

from benchmarks.tables import DOCUMENTS, ROOT, TABLES, number, read_figures, write_tables

WHERE = {"date": "2026-01-02", "processor": "2 cores of X", "device": "cpu", "python": "3.11.7"}
ROW = {"jax": "0.10.2", "indicator": "own", "num_tasks": 1000, "tasks_per_network": 50} | WHERE


def test_nobody_typed_a_figure() -> None:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        assert write_tables(text, read_figures()) == text, document


def test_every_table_stands_somewhere_once() -> None:
    texts = [(ROOT / document).read_text() for document in DOCUMENTS]
    found = [name for text in texts for name in re.findall(r"<!-- begin (\w+) -->", text)]
    assert sorted(found) == sorted(TABLES)
    assert found == [name for text in texts for name in re.findall(r"<!-- end (\w+) -->", text)]


def test_a_table_by_hand() -> None:
    rows = [ROW | {"states_per_second": 1234.5, "minutes_for_50_000_states": 0.6751}]
    old = "before\n<!-- begin responses -->\nold\n<!-- end responses -->\nafter\n"
    assert write_tables(old, {"responses": rows}) == (
        "before\n<!-- begin responses -->\n"
        "`python -m benchmarks.responses --rounds=1`, 2026-01-02, 2 cores of X, cpu, "
        "Python 3.11.7, JAX 0.10.2:\n\n"
        "| family, T | `tasks_per_network` | states/s | 50,000 states, minutes |\n"
        "|---|---:|---:|---:|\n"
        "| `own`, 1,000 | 50 | 1,230 | 0.675 |\n"
        "<!-- end responses -->\nafter\n"
    )
    assert write_tables(old, {}) == old  # without figures the old ones stay


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,230"), (99.96, "100"), (40.04, "40"), (0.07081, "0.0708"), (2.0, "2")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_command_writes_the_tables_again(run: Callable) -> None:
    before = {document: (ROOT / document).read_text() for document in DOCUMENTS}
    result = run("benchmarks", "--only=")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert before == {document: (ROOT / document).read_text() for document in DOCUMENTS}


def test_an_unknown_benchmark(run: Callable) -> None:
    result = run("benchmarks", "--only=heads,nothing")
    assert result.returncode == 1
    assert result.stderr.startswith("error: --only: nothing, expected some of train_step, floor")
    assert result.stderr.count("\n") == 1
