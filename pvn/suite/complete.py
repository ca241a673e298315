"""Whether a cell is complete, by what its command has written."""

import json
from pathlib import Path
from typing import Any

from pvn.data.store import read_attributes, unfinished
from pvn.errors import UserError
from pvn.evaluation.records import DIAGNOSTICS, PROBES, SCORES, parse_probe, read_rows
from pvn.storage.files import read_text
from pvn.suite.cells import Cell

DEFAULTS = {"num_steps": "100000", "targets": "value", "diagnostics": "true"}
"""Defaults of flags of pvn.collect and pvn.probe."""

_FALSE = ("false", "f", "0", "no", "n")  # as absl reads them


def flag_of(cell: Cell, name: str) -> str | None:
    """The value of a flag in the command of a cell; None if it is not given."""
    given = [word for word in cell.command if word.startswith(f"--{name}=")]
    return given[-1].partition("=")[2] if given else None


def flag_or_default(cell: Cell, name: str) -> str:
    """The value of a flag of `DEFAULTS` in the command of a cell."""
    value = flag_of(cell, name)
    return DEFAULTS[name] if value is None else value


def is_complete(cell: Cell) -> bool:
    """Whether the command of a cell has nothing left to do.

    A dataset has all its rows or files, a pretraining has features of the last step, an evaluation
    has its summary, and a probe has rows of each target and of the diagnostics.
    """
    folder = Path(cell.workdir)
    match cell.command[0]:
        case "pvn.collect":
            attributes = _attributes(cell)
            return attributes.get("num_rows", -1) >= _number(flag_or_default(cell, "num_steps"))
        case "pvn.convert":
            attributes = _attributes(cell)
            return bool(attributes) and not unfinished(attributes)
        case "pvn.pretrain":
            step = _json(folder / "features" / "features.json").get("step")
            configured = _json(folder / "config.json").get("num_steps")
            return step is not None and step == _number(
                flag_of(cell, "config.num_steps") or configured or 0
            )
        case "pvn.probe":
            return _expected_targets(cell) <= _targets(folder / PROBES)
        case _:
            return (folder / "summary.json").is_file()


def has_rows(cell: Cell) -> bool:
    """Whether a cell has rows for a report."""
    folder = Path(cell.workdir)
    return (folder / SCORES).is_file() or (folder / PROBES).is_file()


def _number(value: str | int) -> float:
    """A number of steps; infinite if it is none, which the cell's own command then says."""
    try:
        return int(value)
    except ValueError:
        return float("inf")


def _attributes(cell: Cell) -> dict[str, Any]:
    """The attributes of the cell's dataset; empty if there is none."""
    if not (Path(cell.workdir) / "zarr.json").is_file():
        return {}
    try:
        return read_attributes(cell.workdir)
    except UserError:  # the cell's own command says what is wrong
        return {}


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none."""
    try:
        value = json.loads(read_text(file))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _expected_targets(cell: Cell) -> set[str]:
    """The values of `target` in the rows that a probe writes."""
    targets = {name.rpartition(":")[2] for name in flag_or_default(cell, "targets").split(",")}
    off = any(word.partition("=")[0] == "--nodiagnostics" for word in cell.command)
    if off or flag_or_default(cell, "diagnostics").lower() in _FALSE:
        return targets
    return targets | {DIAGNOSTICS}


def _targets(file: Path) -> set[str]:
    """The values of `target` in a file of probes; empty if it cannot be read."""
    try:
        return {row.target for _, row in read_rows(file, parse_probe)}
    except UserError:
        return set()
