"""What a suite writes beside the directory of a cell: its log, its command, its time, its lock.

The command is stored with {workdir} instead of the suite's directory, which may move. Commands that
were only listed, and ran elsewhere, are in WORKDIR/listed.json.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pvn.errors import UserError
from pvn.storage.files import read_text, write_json
from pvn.suite.cells import Cell

_LISTED = "listed.json"
_MOST_NAMED = 10  # directories in an error


class Record(NamedTuple):
    """The content of NAME.json."""

    command: tuple[str, ...]
    inputs: str = ""  # of the cell, when it started; empty: not known
    seconds: float = 0.0  # of all starts together
    complete: bool = False  # whether `seconds` is the time of the whole command
    started: float | None = None  # Unix time of a start whose end is not recorded


def log_file(cell: Cell) -> Path:
    """The file that gets the output of the cell's command."""
    return Path(f"{cell.workdir}.log")


def lock_file(cell: Cell) -> Path:
    """The file that the cell's process keeps locked."""
    return Path(f"{cell.workdir}.lock")


def read_record(cell: Cell) -> Record | None:
    """The record of a cell; None if the cell was never started.

    `seconds` counts a start whose end is not recorded, because the suite was killed, until the last
    output of the cell.
    """
    record = _stored(cell)
    if record is None or record.started is None or not log_file(cell).is_file():
        return record
    lost = max(log_file(cell).stat().st_mtime - record.started, 0.0)
    return record._replace(seconds=record.seconds + lost)


def write_start(cell: Cell) -> None:
    """Records that a cell starts now, before it writes to its log.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    old = read_record(cell)
    seconds = old.seconds if old and not _difference(cell, old) else 0.0
    _store(cell, Record(cell.movable_command, cell.inputs, seconds, False, time.time()))


def write_record(cell: Cell, seconds: float, complete: bool) -> None:
    """Records the end of a start, which took `seconds`.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    old = _stored(cell)
    total = seconds + (old.seconds if old else 0.0)
    _store(cell, Record(cell.movable_command, cell.inputs, total, complete))


def write_listed(cells: Sequence[Cell], workdir: str) -> None:
    """Adds the commands of a suite's cells to those that were listed in its directory.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    file = Path(workdir) / _LISTED
    new = {cell.name: [cell.movable_command, cell.inputs] for cell in cells}
    write_json(file, _listed(file) | new)


def check_same_commands(cells: Sequence[Cell], workdir: str) -> None:
    """Checks that what a suite's cells have in its directory was made by the same commands.

    Raises:
      UserError: cells were started with other commands, or cells that they need were.
    """
    listed = _listed(Path(workdir) / _LISTED)
    problems = {}
    for cell in cells:
        if (old := read_record(cell)) is None and cell.name in listed:
            command, inputs = listed[cell.name]
            old = Record(tuple(command), inputs)
        if old and Path(cell.workdir).exists() and (problem := _difference(cell, old)):
            problems[cell.workdir] = f"cell {cell.name} {problem}"
    if problems:
        first, *_ = problems.values()
        folders = ", ".join([*problems][:_MOST_NAMED])
        rest = f" and {more} more" if (more := len(problems) - _MOST_NAMED) > 0 else ""
        raise UserError(
            f"--workdir: {first}; name another --workdir, or delete what the old config made: "
            f"{folders}{rest}"
        )


def _difference(cell: Cell, old: Record) -> str:
    """What differs from the start of a cell; empty if nothing does."""
    was = {word.replace("{workdir}", cell.root) for word in old.command}
    now = set(cell.command)
    if was != now:
        before, after = (" ".join(sorted(x)) or "nothing" for x in (was - now, now - was))
        return f"was started with {before}, the config now says {after}"
    if old.inputs not in ("", cell.inputs):
        return f"was made of another {' or '.join(cell.needs)} than the config says now"
    return ""


def _listed(file: Path) -> dict[str, tuple[list[str], str]]:
    """Name -> command and inputs of the cells that were listed."""
    try:
        return dict(json.loads(read_text(file)))
    except (OSError, ValueError, TypeError):  # missing or damaged: nothing is known
        return {}


def _stored(cell: Cell) -> Record | None:
    try:
        values = json.loads(read_text(_file(cell)))
        started = values.get("started")
        return Record(
            tuple(values["command"]),
            values.get("inputs", ""),
            float(values["seconds"]),
            bool(values["complete"]),
            None if started is None else float(started),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _store(cell: Cell, record: Record) -> None:
    write_json(_file(cell), record._asdict())


def _file(cell: Cell) -> Path:
    return Path(f"{cell.workdir}.json")
