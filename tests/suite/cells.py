"""Cells without a plan, for tests of what is done with cells."""

from pathlib import Path

from pvn.suite.cells import Cell


def make_cell(root: Path | str, name: str, *needs: str) -> Cell:
    return Cell(name, ("pvn.evaluate", f"--workdir={root}/{name}"), needs, f"{root}/{name}")
