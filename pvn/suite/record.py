"""What a suite writes beside the directory of a cell: its log, its command, its time, its lock.

The command is stored with {workdir} instead of the suite's directory, which may move.
"""

import json
from pathlib import Path
from typing import NamedTuple

from pvn.errors import UserError
from pvn.files import read_text, write_json
from pvn.suite.cells import Cell


class Record(NamedTuple):
    """The content of NAME.json."""

    command: tuple[str, ...]
    seconds: float = 0.0  # of all starts together
    complete: bool = False  # whether `seconds` is the time of the whole command


def log_file(cell: Cell) -> Path:
    """The file that gets the output of the cell's command."""
    return Path(f"{cell.workdir}.log")


def lock_file(cell: Cell) -> Path:
    """The file that the cell's process keeps locked."""
    return Path(f"{cell.workdir}.lock")


def read_record(cell: Cell) -> Record | None:
    """The record of a cell; None if the cell was never started."""
    try:
        values = json.loads(read_text(_file(cell)))
        return Record(tuple(values["command"]), float(values["seconds"]), bool(values["complete"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(cell: Cell, seconds: float, complete: bool) -> None:
    """Adds `seconds` to the time of a cell.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    old = read_record(cell)
    total = seconds + (old.seconds if old else 0.0)
    write_json(_file(cell), Record(movable_command(cell), total, complete)._asdict())


def check_same_command(cell: Cell) -> None:
    """Raises `UserError` if the cell was started with another command."""
    old = read_record(cell)
    if old is None or old.command == movable_command(cell):
        return
    was, now = set(old.command), set(movable_command(cell))
    differ = " ".join(sorted(was - now)) or "nothing", " ".join(sorted(now - was)) or "nothing"
    raise UserError(
        f"--workdir: cell {cell.name} was started with {differ[0]}, the config now says "
        f"{differ[1]}; name another --workdir, or delete {cell.workdir} and {_file(cell)}"
    )


def movable_command(cell: Cell) -> tuple[str, ...]:
    """The command of a cell with {workdir} instead of the suite's directory."""
    root = cell.workdir.removesuffix(f"/{cell.name}")
    return tuple(word.replace(f"{root}/", "{workdir}/") for word in cell.command)


def _file(cell: Cell) -> Path:
    return Path(f"{cell.workdir}.json")
