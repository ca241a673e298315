"""A short calibration: a few seconds of one cell of each kind, on this machine.

The first cell of each kind runs in a temporary directory on a small dataset. The speed of each
progress bar, times its work in the real cell, is the time of that phase. Costs that grow during a
cell are not seen, such as the fits of `fqi` to a growing replay: the times of complete cells
replace these estimates.
"""

import hashlib
import json
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pvn.storage.files import read_text, write_json
from pvn.suite.cells import Cell
from pvn.suite.complete import flag_of, flag_or_default
from pvn.suite.process import Progress, error_line, progress_bars, start, wait

ROWS = 3000  # of the datasets of a calibration
_STEPS = 2000  # agent steps of a shortened evaluation
_SECONDS = 5.0  # of the last phase that is measured
_PATIENCE = 240.0  # seconds for one cell


class Estimate(NamedTuple):
    """The time of a kind of cell."""

    kind: str
    seconds: float | None  # None: not measured
    reason: str = f"it did not get far enough in {_PATIENCE:.0f} s"  # why not


class _Bar(NamedTuple):
    """What was seen of a progress bar. A point is (seconds since the process began, done)."""

    start: tuple[float, int]
    first: tuple[float, int]  # the first point with progress: compilation is over
    last: tuple[float, int]
    total: int
    unit: str

    @property
    def measured(self) -> tuple[float, int]:
        """Seconds, and the progress in them. Steps count after the first, which compiles."""
        whole = self.unit == "episodes" or self.last == self.first
        began = self.start if whole else self.first
        return self.last[0] - began[0], self.last[1] - began[1]

    def is_long(self, now: float) -> bool:
        """Whether `_SECONDS` have passed since the first progress."""
        return self.first != self.start and now - self.first[0] > _SECONDS


def calibration_file(workdir: str) -> Path:
    """The file in a suite's directory that keeps the calibration of this machine."""
    return Path(workdir) / f"calibration-{socket.gethostname()}.json"


def read_calibration(workdir: str, cells: Sequence[Cell]) -> dict[str, float]:
    """Seconds by kind that this machine has measured for these commands."""
    try:
        stored = json.loads(read_text(calibration_file(workdir)))
    except (OSError, ValueError):
        return {}
    return {
        kind: stored[kind]["seconds"]
        for kind, cell in _one_of_each(cells).items()
        if kind in stored and stored[kind]["command"] == _digest(cell)
    }


def write_calibration(workdir: str, cells: Sequence[Cell], seconds: Mapping[str, float]) -> None:
    """Stores seconds by kind for `read_calibration`. Makes the directory."""
    kinds = _one_of_each(cells)
    Path(workdir).mkdir(parents=True, exist_ok=True)
    stored = {
        kind: {"seconds": time, "command": _digest(kinds[kind])} for kind, time in seconds.items()
    }
    write_json(calibration_file(workdir), stored)


def calibrate(
    expand: Callable[[str], Sequence[Cell]], known: Mapping[str, float]
) -> Iterator[Estimate]:
    """Measures one cell of each kind that is not `known`.

    expand: the cells of the suite in a given directory.
    """
    with tempfile.TemporaryDirectory(prefix="pvn-suite-") as folder:
        cells = expand(folder)
        kinds = _one_of_each(cells)
        by_name = {cell.name: cell for cell in cells}
        needed = _closure([c for kind, c in kinds.items() if kind not in known], by_name)
        for cell in cells:
            if cell.name in needed:
                real_rows = _rows_of(cell, by_name)
                estimate = _measure(cell, real_rows)
                if cell.kind not in known and kinds[cell.kind] == cell:
                    yield estimate


def _one_of_each(cells: Sequence[Cell]) -> dict[str, Cell]:
    """The first cell of each kind."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.kind, cell)
    return found


def _closure(cells: Sequence[Cell], by_name: Mapping[str, Cell]) -> set[str]:
    """The names of cells and of all that they need."""
    found: set[str] = set()
    names = [cell.name for cell in cells]
    while names:
        if (name := names.pop()) not in found:
            found.add(name)
            names += by_name[name].needs
    return found


def _digest(cell: Cell) -> str:
    """Identifies the command of a cell without its directories."""
    root = cell.workdir.removesuffix(cell.name)
    text = "\n".join(cell.command).replace(root, "")
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _rows_of(cell: Cell, by_name: Mapping[str, Cell]) -> int:
    """The number of rows of the dataset that a cell reads; ROWS if it is not known."""
    for name in cell.needs:
        if by_name[name].command[0] == "pvn.collect":
            return int(flag_or_default(by_name[name], "num_steps"))
    return ROWS


def _measure(cell: Cell, real_rows: int) -> Estimate:
    """Runs a cell for some seconds. What it leaves serves the cells that need it."""
    match cell.command[0]:
        case "pvn.collect":
            return _collect(cell)
        case "pvn.convert":
            game = flag_of(cell, "game")
            small = ("pvn.collect", f"--game={game}", f"--dataset={cell.workdir}")
            _collect(cell._replace(command=small))
            return Estimate(cell.kind, None, "a conversion is not measured")
        case "pvn.evaluate" if flag_of(cell, "dataset"):
            return _fit_labels(cell)
        case "pvn.evaluate":
            return _evaluate(cell)
        case _:
            began = time.monotonic()
            bars, failure = _watch(cell, "steps")
            if failure:
                return Estimate(cell.kind, None, failure)
            scale = {"states": real_rows / ROWS, "frames": real_rows / ROWS}
            return Estimate(cell.kind, _extrapolate(bars, time.monotonic() - began, scale))


def _collect(cell: Cell) -> Estimate:
    began = time.monotonic()
    bars, failure = _watch(cell._replace(command=(*cell.command, f"--num_steps={ROWS}")), "nothing")
    if failure:
        return Estimate(cell.kind, None, failure)
    scale = {"steps": int(flag_or_default(cell, "num_steps")) / ROWS}
    return Estimate(cell.kind, _extrapolate(bars, time.monotonic() - began, scale))


def _evaluate(cell: Cell) -> Estimate:
    """The learning phase of the real command, then the episodes of a shortened one."""
    began = time.monotonic()
    aside = cell._replace(
        command=tuple(word.replace(cell.workdir, f"{cell.workdir}.real") for word in cell.command),
        workdir=f"{cell.workdir}.real",
    )
    real, failure = _watch(aside, "steps", "episodes")
    learning = time.monotonic() - began
    if failure:
        return Estimate(cell.kind, None, failure)
    if not any(bar.unit == "steps" for bar in real.values()):
        return Estimate(cell.kind, _extrapolate(real, learning, {}))
    short = ("num_steps", _STEPS), ("learn_after", _STEPS // 2)
    flags = (f"--config.{name}={value}" for name, value in short)
    played, failure = _watch(cell._replace(command=(*cell.command, *flags)), "episodes")
    if failure:
        return Estimate(cell.kind, None, failure)
    episodes = {what: bar for what, bar in played.items() if bar.unit == "episodes"}
    return Estimate(cell.kind, _extrapolate(real | episodes, learning, {}))


def _fit_labels(cell: Cell) -> Estimate:
    """A fit to few labels and its episodes; the real cell has a fit for each number of labels."""
    numbers = [int(text) for text in re.findall(r"\d+", flag_of(cell, "config.num_labels") or "")]
    if not numbers:
        return Estimate(cell.kind, None, "its overrides have no num_labels")
    began = time.monotonic()
    few = (f"--config.num_labels=({_STEPS},)", f"--config.learn_after={_STEPS // 2}")
    # ml_collections joins the tuples of a flag that is given twice.
    rest = (word for word in cell.command if not word.startswith("--config.num_labels="))
    bars, failure = _watch(cell._replace(command=(*rest, *few)), "episodes")
    if failure:
        return Estimate(cell.kind, None, failure)
    # A fit in closed form shows a bar and does not move it.
    moved = {what: bar for what, bar in bars.items() if bar.unit != "labels" or bar.last[1]}
    scale = {"labels": sum(numbers) / _STEPS, "episodes": float(len(numbers))}
    return Estimate(cell.kind, _extrapolate(moved, time.monotonic() - began, scale))


def _extrapolate(bars: Mapping[str, _Bar], wall: float, scale: Mapping[str, float]) -> float | None:
    """The seconds of a whole cell, from what was seen of it in `wall` seconds.

    Args:
      bars: by description.
      wall: seconds of the measured process. What no bar saw counts once: imports, compilation.
      scale: unit -> work of the real cell, relative to the bar's total.
    """
    seen = work = 0.0
    for bar in bars.values():
        seconds, done = bar.measured
        if done > 0:
            work += seconds / done * bar.total * scale.get(bar.unit, 1.0)
            seen += seconds
        elif bar.total:
            return None
    return max(wall - seen, 0.0) + work if bars else None


def _watch(cell: Cell, *last: str) -> tuple[dict[str, _Bar], str]:
    """Runs a cell until a bar with one of the units `last` was measured for some seconds.

    Returns (bars by description, why it failed; empty if it did not fail).
    """
    process = start(cell, progress_seconds=0.2)
    bars: dict[str, _Bar] = {}
    asked = False
    try:
        while (status := process.poll()) is None:
            time.sleep(0.1)
            for progress in progress_bars(cell):
                _see(bars, progress, process.seconds)
            long = any(b.unit in last and b.is_long(process.seconds) for b in bars.values())
            if not asked and (long or process.seconds > _PATIENCE):
                process.stop()
                asked = True
    except BaseException:
        process.stop()
        wait(process)
        raise
    for progress in progress_bars(cell):
        _see(bars, progress, process.seconds)
    return bars, "" if status == 0 or asked else error_line(cell, status)


def _see(bars: dict[str, _Bar], progress: Progress, now: float) -> None:
    """Adds a state of a progress bar."""
    point = now, progress.done
    old = bars.get(progress.what)
    if old is None:
        bars[progress.what] = _Bar(point, point, point, progress.total, progress.unit)
    elif progress.done > old.last[1]:
        first = point if old.first == old.start else old.first
        bars[progress.what] = old._replace(first=first, last=point)
