"""What a suite writes beside the directory of a cell: its log, its command, its time, its lock.

The command is stored with {workdir} instead of the suite's directory, which may move.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

from pvn.errors import UserError
from pvn.storage.files import read_text, write_json
from pvn.suite.cells import Cell


class Record(NamedTuple):
    """The content of NAME.json."""

    command: tuple[str, ...]
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
    _store(cell, Record(movable_command(cell), old.seconds if old else 0.0, False, time.time()))


def write_record(cell: Cell, seconds: float, complete: bool) -> None:
    """Records the end of a start, which took `seconds`.

    Raises:
      OSError: the file cannot be written; the error names it.
    """
    old = _stored(cell)
    total = seconds + (old.seconds if old else 0.0)
    _store(cell, Record(movable_command(cell), total, complete))


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


def _stored(cell: Cell) -> Record | None:
    try:
        values = json.loads(read_text(_file(cell)))
        started = values.get("started")
        return Record(
            tuple(values["command"]),
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
