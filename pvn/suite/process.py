"""The process of a cell: how it starts, what its log says, how it ended."""

import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pvn.storage.files import Lock, read_text
from pvn.suite.cells import Cell
from pvn.suite.record import lock_file, log_file, write_start

_TAIL = 8192  # bytes of a log that are searched for the last line
_BAR = re.compile(r"(?P<what>.*?): *\d+%\|.*?\| (?P<done>\d+)/(?P<total>\d+) \[(?P<clock>[^]]*)\]")


class Progress(NamedTuple):
    """The newest state of a progress bar in a log."""

    what: str  # "pretrain", "learn fqi", ...
    done: int
    total: int
    clock: str  # "00:05<00:40, 1300 steps/s": elapsed, left, rate

    @property
    def unit(self) -> str:
        """What is counted: "steps", "episodes"; empty if the bar does not show it."""
        found = re.search(r"[\d?](?:s/)? ([a-z]+)", self.clock.partition(",")[2])
        return found[1] if found else ""

    def __str__(self) -> str:
        share = f"{self.done / max(self.total, 1):.0%}"
        return f"{self.what} {share} of {self.total:,} [{self.clock}]"


class Process:
    """A started cell."""

    def __init__(
        self, cell: Cell, cores: Sequence[int], lock: Lock, popen: subprocess.Popen[bytes]
    ):
        self.cell, self.cores, self._lock, self._popen = cell, cores, lock, popen
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._began

    def poll(self) -> int | None:
        """The exit status, -N after signal N; None while the process runs."""
        status = self._popen.poll()
        if status is not None:
            self._lock.release()
        return status

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Asks the process to save a checkpoint and to end."""
        self._popen.send_signal(number)


def start(
    cell: Cell,
    progress_seconds: float = 2.0,
    cores: Sequence[int] = (),
    environment: Mapping[str, str] = types.MappingProxyType({}),
) -> Process:
    """Starts the command of a cell. Its output is appended to the log of the cell.

    The process gets SIGTERM when this process dies (on Linux). It holds the cell's lock until it
    has ended, so that nobody starts the cell again while it saves.

    Args:
      cell: the cell.
      progress_seconds: time between progress lines in the log.
      cores: numbers of the cores that it may use (on Linux); empty: those of this process.
      environment: variables, besides those of this process.

    Raises:
      Locked: a process of an earlier suite still works on this cell.
      OSError: a file cannot be written, or there is no such program.
    """
    file = log_file(cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(lock_file(cell))
    write_start(cell)
    words = list(cell.command)
    if words[0].startswith("pvn."):
        words = [sys.executable, "-m", *words]
    follow = [sys.executable, str(Path(__file__).with_name("follow.py")), str(os.getpid())]
    follow.append(",".join(map(str, cores)))
    with file.open("ab", buffering=0) as log:
        log.write(f"{_mark()}{' '.join(cell.command)}\n".encode("utf-8", "surrogateescape"))
        popen = subprocess.Popen(
            [*follow, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PVN_PROGRESS_SECONDS": str(progress_seconds), **environment},
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C reaches the suite only, which passes it on
        )
    return Process(cell, cores, lock, popen)


def wait(process: Process) -> int:
    """Waits until a process has ended. Returns its exit status."""
    while (status := process.poll()) is None:
        time.sleep(0.1)
    return status


def _mark() -> str:
    return f"== {time.strftime('%Y-%m-%d %H:%M:%S')} "


def last_progress(cell: Cell) -> Progress | None:
    """The newest progress bar in the log since the last start; None if there is none."""
    return next(reversed(progress_bars(cell)), None)


def progress_bars(cell: Cell) -> list[Progress]:
    """The newest states of progress bars in the log since the last start, in order."""
    found = map(_BAR.match, _last_lines(cell))
    return [
        Progress(bar["what"], int(bar["done"]), int(bar["total"]), bar["clock"])
        for bar in found
        if bar
    ]


def error_line(cell: Cell, status: int) -> str:
    """The line of the log that says why the cell failed."""
    lines = [line for line in _last_lines(cell) if not _BAR.match(line)]
    errors = [line for line in lines if line.startswith("error:")]
    if errors:
        return errors[-1].removeprefix("error: ")
    if status < 0:  # the last line is about something else
        return f"killed by {_signal_name(-status)}"
    return lines[-1] if lines else f"ended with status {status}"


def last_warning(cell: Cell) -> str:
    """The last warning in the log since the last start; empty if there is none."""
    file = log_file(cell)
    text = read_text(file) if file.is_file() else ""
    since = text.rpartition("\n== ")[2]
    found = [line for line in re.split(r"[\r\n]+", since) if line.startswith("warning: ")]
    return found[-1].removeprefix("warning: ") if found else ""


def _signal_name(number: int) -> str:
    """signal 9 (SIGKILL)."""
    names = {each.value: each.name for each in signal.Signals}
    return f"signal {number}" + (f" ({names[number]})" if number in names else "")


def _last_lines(cell: Cell) -> list[str]:
    """The last lines of the log that are not empty, since the last start."""
    file = log_file(cell)
    if not file.is_file():
        return []
    text = _tail(file) if file.stat().st_size > _TAIL else read_text(file)
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    starts = [i for i, line in enumerate(lines) if line.startswith("== ")]
    return [line for line in lines[starts[-1] + 1 if starts else 0 :] if line]


def _tail(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(-_TAIL, os.SEEK_END)
        return stream.read().decode("utf-8", "replace")
