"""The live table of a suite on a terminal, and its lines elsewhere."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pvn.suite.cells import Cell
from pvn.suite.estimate import Estimates, format_time
from pvn.suite.process import Process, last_progress
from pvn.suite.scheduler import Scheduler


def eta(scheduler: Scheduler, estimates: Estimates, num_jobs: int) -> str:
    """The time that is left: the estimates of what remains, divided by the number of jobs."""
    blocked = {cell.name for cell in scheduler.blocked}
    waiting = [cell for cell in scheduler.waiting.values() if cell.name not in blocked]
    left, unknown = estimates.total(waiting)
    for process in scheduler.running.values():
        seconds = estimates.seconds(process.cell)
        left += max((seconds or 0.0) - process.seconds, 0.0)
        unknown += seconds is None
    if not unknown:
        return f"ETA {format_time(left / num_jobs)}"
    at_least = f"ETA more than {format_time(left / num_jobs)}" if left else "ETA unknown"
    return f"{at_least}, no time known for {unknown} cells"


def counts(scheduler: Scheduler) -> str:
    """How many cells are in which state."""
    blocked = len(scheduler.blocked)
    parts = [
        f"{len(scheduler.complete)} done",
        f"{len(scheduler.running)} running",
        f"{len(scheduler.waiting) - blocked} waiting",
    ]
    if scheduler.failed:
        parts.append(f"{len(scheduler.failed)} failed")
    if blocked:
        parts.append(f"{blocked} blocked by failed ones")
    return ", ".join(parts)


def table(scheduler: Scheduler, estimates: Estimates, num_jobs: int) -> Group:
    """The table: a row for each kind of cell, the running cells with their progress, failures."""
    kinds = Table(box=None, pad_edge=False)
    for heading in ("", "done", "running", "waiting", "failed", "time of one"):
        kinds.add_column(heading, justify="left" if not heading else "right")
    groups: Sequence[Counter[str]] = [
        Counter(cell.kind for cell in scheduler.complete.values()),
        Counter(process.cell.kind for process in scheduler.running.values()),
        Counter(cell.kind for cell in scheduler.waiting.values()),
        Counter(cell.kind for cell in scheduler.cells if cell.name in scheduler.failed),
    ]
    some = {cell.kind: cell for cell in scheduler.cells}
    for kind, cell in some.items():
        seconds = estimates.seconds(cell)
        numbers = [str(group[kind] or "") for group in groups]
        kinds.add_row(kind, *numbers, "" if seconds is None else format_time(seconds))
    lines = [Text(running_line(process)) for process in scheduler.running.values()]
    failed = [
        Text(f"failed: {name}: {reason}", style="red", overflow="ellipsis", no_wrap=True)
        for name, reason in list(scheduler.failed.items())[-5:]
    ]
    summary = f"{counts(scheduler)}; {eta(scheduler, estimates, num_jobs)}"
    return Group(kinds, Text(""), *lines, *failed, Text(summary, style="bold"))


def running_line(process: Process) -> str:
    """A line about a running cell: its name, its time, its progress."""
    progress = last_progress(process.cell)
    shown = f"  {progress}" if progress else ""
    return f"{process.cell.name}  {format_time(process.seconds)}{shown}"


def cells_table(cells: Sequence[Cell], complete: set[str], estimates: Estimates) -> str:
    """All cells as text, one a line, and the estimated time of each kind."""
    lines = []
    for cell in cells:
        state = "done" if cell.name in complete else "    "
        lines.append(f"{state} {cell.name}")
    lines.append("")
    left = [cell for cell in cells if cell.name not in complete]
    for kind, number in Counter(cell.kind for cell in left).items():
        one = estimates.seconds(next(cell for cell in left if cell.kind == kind))
        time = "unknown" if one is None else f"{format_time(one)} each, {format_time(number * one)}"
        lines.append(f"{number:5} x {kind}: {time}")
    return "\n".join(lines)
