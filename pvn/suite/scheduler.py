"""Runs the cells of a suite: in order, a bounded number at a time, until a time or a signal."""

import itertools
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pvn.machine import usable_cores
from pvn.storage.files import Locked
from pvn.suite.cells import Cell
from pvn.suite.process import Process, error_line, start
from pvn.suite.record import write_record

_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGTERM, -signal.SIGINT)


class Stop(Protocol):
    """True once the suite was asked to stop; `signal` is then the number of the signal."""

    @property
    def signal(self) -> int | None: ...


class Finished(NamedTuple):
    """A cell is complete."""

    cell: Cell
    seconds: float  # since its last start


class Failed(NamedTuple):
    """A cell ended with an error. Cells that need it do not start."""

    cell: Cell
    reason: str


class Stopped(NamedTuple):
    """A cell saved a checkpoint and ended, because the suite asked it to."""

    cell: Cell


class Waited(NamedTuple):
    """Time has passed."""


Event = Finished | Failed | Stopped | Waited


def shares_of_cores(num_jobs: int) -> list[tuple[int, ...]]:
    """The cores of each of several processes; empty tuples if there are more processes than cores.

    Small networks do not gain from threads that wait for each other's cores.
    """
    cores = usable_cores() if sys.platform == "linux" else []
    if len(cores) < num_jobs:
        return [()] * num_jobs
    edges = [len(cores) * job // num_jobs for job in range(num_jobs + 1)]
    return [tuple(cores[a:b]) for a, b in itertools.pairwise(edges)]


class Scheduler:
    """The state of all cells. `run` changes it."""

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        num_jobs: int,
        is_complete: Callable[[Cell], bool],
        estimate: Callable[[Cell], float | None] = lambda cell: None,
        minutes: float | None = None,
        poll_seconds: float = 0.2,
        environment: Mapping[str, str] = types.MappingProxyType({}),
    ):
        """Looks which cells are complete.

        Args:
          cells: needed cells come before the cells that need them.
          num_jobs: largest number of processes at a time.
          is_complete: whether a cell has nothing left to do.
          estimate: seconds that a cell takes; None if unknown.
          minutes: no longer than that; None for no limit.
          poll_seconds: time between looks at the processes.
          environment: variables of the processes, besides those of this one.
        """
        self._num_jobs, self._is_complete, self._estimate = num_jobs, is_complete, estimate
        self._limit = None if minutes is None else 60 * minutes
        self._began, self._poll_seconds = time.monotonic(), poll_seconds
        self._environment = environment
        self._shares = shares_of_cores(num_jobs)
        self.cells = list(cells)
        self.complete = {cell.name: cell for cell in cells if is_complete(cell)}
        self.waiting = {cell.name: cell for cell in cells if cell.name not in self.complete}
        self.running: dict[str, Process] = {}
        self.failed: dict[str, str] = {}  # name -> reason
        self.is_ending = False  # no cell starts any more

    @property
    def blocked(self) -> list[Cell]:
        """The waiting cells that need, directly or not, a cell that failed."""
        lost = set(self.failed)
        found = []
        for cell in self.waiting.values():
            if lost.intersection(cell.needs):
                lost.add(cell.name)
                found.append(cell)
        return found

    def run(self, stop: Stop) -> Iterator[Event]:
        """Runs the cells until all are complete, failed or blocked, or until time or `stop` ends.

        Raises:
          OSError: a log or a record cannot be written. Running cells are asked to stop.
        """
        try:
            while True:
                if self._must_end(stop):
                    self._end(stop)
                elif not self.is_ending:
                    self._start_cells()
                events = list(self._collect())
                yield from events
                if not self.running and (self.is_ending or not self._may_start_later()):
                    return
                if not events:
                    time.sleep(self._poll_seconds)
                    yield Waited()
        finally:
            for process in self.running.values():
                process.stop()

    def _must_end(self, stop: Stop) -> bool:
        return not self.is_ending and (stop.signal is not None or self._left() <= 0)

    def _left(self) -> float:
        """Seconds until the limit."""
        if self._limit is None:
            return float("inf")
        return self._began + self._limit - time.monotonic()

    def _end(self, stop: Stop) -> None:
        self.is_ending = True
        for process in self.running.values():
            process.stop(stop.signal or signal.SIGTERM)

    def _fits(self, cell: Cell) -> bool:
        """Whether the cell should end in time.

        A cell that takes longer than the whole limit starts all the same: it goes on next time.
        """
        seconds = self._estimate(cell)
        return seconds is None or seconds <= self._left() or seconds > (self._limit or 0.0)

    def _ready(self) -> list[Cell]:
        """The waiting cells whose needs are complete."""
        return [
            cell
            for cell in self.waiting.values()
            if all(name in self.complete for name in cell.needs)
        ]

    def _may_start_later(self) -> bool:
        return any(self._fits(cell) for cell in self._ready())

    def _start_cells(self) -> None:
        for cell in self._ready():
            if len(self.running) == self._num_jobs:
                return
            if not self._fits(cell):
                continue
            taken = [process.cores for process in self.running.values()]
            cores = next(share for share in self._shares if taken.count(share) == 0 or not share)
            try:
                process = start(cell, cores=cores, environment=self._environment)
            except Locked:  # a process of a killed suite is saving its checkpoint
                continue
            del self.waiting[cell.name]
            self.running[cell.name] = process

    def _collect(self) -> Iterator[Event]:
        """The events of the processes that have ended."""
        for name, process in list(self.running.items()):
            status = process.poll()
            if status is None:
                continue
            del self.running[name]
            cell = process.cell
            is_complete = status == 0 and self._is_complete(cell)
            write_record(cell, process.seconds, is_complete)
            if is_complete:
                self.complete[name] = cell
                yield Finished(cell, process.seconds)
            elif self.is_ending and status in _STOPPED:
                self.waiting[name] = cell
                yield Stopped(cell)
            else:
                self.failed[name] = (
                    error_line(cell, status)
                    if status
                    else f"ended with status 0, but is not complete: {error_line(cell, status)}"
                )
                yield Failed(cell, self.failed[name])
