r"""Runs a suite: games x seeds x agents x settings, each cell a command with its own directory.

    python -m pvn.suite --config=configs/suite_small.py --workdir=results/small --jobs=2

The config names games, seeds, datasets, pretrainings, agents and probes (docs/suite.md). The cell
NAME has its directory at WORKDIR/NAME and its output in WORKDIR/NAME.log. On a terminal a table
shows all cells; elsewhere each cell that ends is a line. A failed cell stops only the cells that
need it; the exit status is then 1. At the end, `pvn.report` writes WORKDIR/report.

SIGTERM and Ctrl-C are passed on: the cells save checkpoints, then the suite ends with status 143 or
130. The same command goes on where it stopped, after a kill too. --minutes ends in the same way at
that time, with status 0.

--dry_run prints the cells and an estimate of their time; it runs some seconds of one cell of each
kind in a temporary directory, and keeps the result in WORKDIR/calibration-HOST.json. --list writes
the cells as lists for launch/sweep.sh and launch/slurm/sweep.sbatch, and runs nothing.
"""

import contextlib
import functools
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.live import Live

from pvn.errors import UserError
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.runs.run_directory import lock_workdir
from pvn.storage.files import write_whole
from pvn.suite.calibration import calibrate, read_calibration, write_calibration
from pvn.suite.cells import Cell, expand
from pvn.suite.complete import has_rows, is_complete
from pvn.suite.estimate import Estimates, format_time
from pvn.suite.lists import job_line, lists_of, submission
from pvn.suite.plan import Plan, read_plan
from pvn.suite.process import error_line, last_warning, start, wait
from pvn.suite.record import check_same_commands, write_listed
from pvn.suite.scheduler import Event, Failed, Finished, Scheduler, Stopped
from pvn.suite.table import cells_table, counts, eta, table

_CONFIG = cfg.define_config("configs/suite_small.py")
_WORKDIR = cfg.define_path("workdir", None, "Directory of all cells.", required=True)
_JOBS = flags.DEFINE_integer("jobs", 1, "Largest number of processes at a time.", lower_bound=1)
_MINUTES = flags.DEFINE_float(
    "minutes", None, "Stop all cells after this time, with status 0. Default: no limit.", 0.0
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the cells and an estimate of their time.")
_LIST = flags.DEFINE_bool("list", False, "Write lists of jobs, one a stage; run nothing.")


def print_dry_run(plan: Plan, cells: Sequence[Cell], workdir: str, num_jobs: int) -> None:
    """Prints the cells and an estimate of their time; measures it if that was not done yet."""
    # What runs is stopped and its directory deleted before the end.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    seconds = read_calibration(workdir, cells)
    for kind, time, reason in calibrate(lambda folder: expand(plan, folder), seconds):
        if time is None:
            console.say(f"{kind}: not measured: {reason}")
        else:
            console.say(f"{kind}: about {format_time(time)}")
            seconds[kind] = time
            write_calibration(workdir, cells, seconds)
    complete = {cell.name for cell in cells if is_complete(cell)}
    left = [cell for cell in cells if cell.name not in complete]
    estimates = Estimates(seconds)
    estimates.add(cell for cell in cells if cell.name in complete)
    print(cells_table(cells, complete, estimates))
    total, unknown = estimates.total(left)
    print(
        f"{len(left)} of {len(cells)} cells are left: {format_time(total / num_jobs)} with "
        f"--jobs={num_jobs}" + (f", without {unknown} cells of unknown time" if unknown else "")
    )


def write_lists(cells: Sequence[Cell], workdir: str) -> None:
    """Writes the lists of all stages into WORKDIR and prints the commands that submit them.

    Raises:
      UserError: another command works in `workdir`, or a cell there was made by another command.
    """
    with lock_workdir(workdir) as place:
        check_same_commands(cells, workdir)
        write_listed(cells, workdir)
        files = []
        for lists in lists_of(cells):
            files.append({name: str(place.workdir / f"{name}.txt") for name in lists})
            for name, listed in lists.items():
                text = "".join(f"{job_line(cell)}\n" for cell in listed)
                write_whole(Path(files[-1][name]), text)
    console.say(
        f"{len(cells)} jobs in {sum(map(len, files))} lists; the lists of a stage wait for those "
        "of the stage before:"
    )
    print(submission(files))


def line_of(event: Event) -> str:
    """The line about an event; empty for an event without a line."""
    match event:
        case Finished(cell, seconds):
            return f"done     {cell.name}  {format_time(seconds)}"
        case Failed(cell, reason):
            return f"failed   {cell.name}: {reason}; see {cell.workdir}.log"
        case Stopped(cell):
            return f"stopped  {cell.name}"
    return ""


def run_cells(
    scheduler: Scheduler, estimates: Estimates, num_jobs: int, stop: console.Stop
) -> None:
    """Runs all cells and shows a table on a terminal, or else a line for each cell that ends."""
    live = None
    with contextlib.ExitStack() as stack:
        if sys.stderr.isatty():
            screen = Console(stderr=True)
            live = stack.enter_context(Live(console=screen, auto_refresh=False))
        for event in scheduler.run(stop):
            if isinstance(event, Finished):
                estimates.add([event.cell])
            line = line_of(event)
            if isinstance(event, Finished) and (warning := last_warning(event.cell)):
                # Above the table on a terminal, where it stays.
                say = functools.partial(live.console.print, markup=False) if live else console.say
                say(f"warning  {event.cell.name}: {warning}; see {event.cell.workdir}.log")
            if live:
                live.update(table(scheduler, estimates, num_jobs), refresh=True)
            elif line:
                console.say(f"{line}  ({counts(scheduler)}; {eta(scheduler, estimates, num_jobs)})")


def write_report(cells: Sequence[Cell], workdir: str) -> str:
    """Runs `pvn.report` over all complete cells with rows. Returns why it failed, or nothing."""
    inputs = [cell.workdir for cell in cells if has_rows(cell)]
    if not inputs:
        return ""
    # A line of the shell may be too short for all inputs.
    write_whole(Path(workdir) / "report.flags", f"--inputs={','.join(inputs)}\n")
    command = ("pvn.report", f"--flagfile={workdir}/report.flags", f"--workdir={workdir}/report")
    cell = Cell("report", command, (), f"{workdir}/report")
    status = wait(start(cell))
    return error_line(cell, status) if status else ""


def shared_compilations(workdir: str) -> dict[str, str]:
    """Environment variables with which cells share what they compile: 10 s of a small cell."""
    folder = Path(workdir) / f"compilations-{socket.gethostname()}"
    wanted = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    return {} if "JAX_COMPILATION_CACHE_DIR" in os.environ else wanted


def run_suite(cells: Sequence[Cell], workdir: str, num_jobs: int, minutes: float | None) -> int:
    """Runs what is not complete, then the report. Returns the exit status.

    Raises:
      UserError: another command works in `workdir`, or a cell there was started with another
        command.
    """
    with lock_workdir(workdir), console.orderly_stop() as stop:
        check_same_commands(cells, workdir)
        estimates = Estimates(read_calibration(workdir, cells))
        scheduler = Scheduler(
            cells,
            num_jobs=num_jobs,
            is_complete=is_complete,
            estimate=estimates.left,
            minutes=minutes,
            environment=shared_compilations(workdir),
        )
        estimates.add(scheduler.complete.values())
        run_cells(scheduler, estimates, num_jobs, stop)
        if not stop and (reason := write_report([*scheduler.complete.values()], workdir)):
            scheduler.failed["report"] = reason
    for name, reason in scheduler.failed.items():
        console.say(f"failed: {name}: {reason}; see {workdir}/{name}.log")
    resumes = "; the same command goes on" if scheduler.waiting or scheduler.failed else ""
    console.say(f"{workdir}: {counts(scheduler)}{resumes}")
    return stop.status or int(bool(scheduler.failed))


def main() -> int:
    plan, workdir = read_plan(cfg.values_of(_CONFIG.value)), _WORKDIR.value
    if "," in workdir:
        raise UserError(f"--workdir={workdir}: has a comma, which separates the report's inputs")
    cells = expand(plan, workdir)
    if _LIST.value:
        write_lists(cells, workdir)
        return 0
    if _DRY_RUN.value:
        print_dry_run(plan, cells, workdir, _JOBS.value)
        return 0
    return run_suite(cells, workdir, _JOBS.value, _MINUTES.value)


if __name__ == "__main__":
    console.run(main)
