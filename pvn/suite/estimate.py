"""How long cells take: from cells that are complete, else from a calibration."""

from collections.abc import Iterable, Mapping

from pvn.suite.cells import Cell
from pvn.suite.record import read_record


class Estimates:
    """Seconds of a cell by its kind."""

    def __init__(self, calibrated: Mapping[str, float]):
        """calibrated: kind -> seconds. Measured times have precedence."""
        self._calibrated = dict(calibrated)
        self._measured: dict[str, list[float]] = {}

    def add(self, cells: Iterable[Cell]) -> None:
        """Takes the recorded times of complete cells."""
        for cell in cells:
            record = read_record(cell)
            if record and record.complete:
                self._measured.setdefault(cell.kind, []).append(record.seconds)

    def seconds(self, cell: Cell) -> float | None:
        """The mean time of the complete cells of its kind, or the calibrated time, or None."""
        if measured := self._measured.get(cell.kind):
            return sum(measured) / len(measured)
        return self._calibrated.get(cell.kind)

    def left(self, cell: Cell) -> float | None:
        """What is left of a cell that was stopped: its time without the time of its starts."""
        whole, record = self.seconds(cell), read_record(cell)
        if whole is None or record is None:
            return whole
        return max(whole - record.seconds, 0.0)

    def total(self, cells: Iterable[Cell]) -> tuple[float, int]:
        """The sum over cells, and the number of cells whose time is unknown."""
        times = [self.seconds(cell) for cell in cells]
        known = [seconds for seconds in times if seconds is not None]
        return sum(known), len(times) - len(known)


def format_time(seconds: float) -> str:
    """A time for people: 40 s, 12 min, 3.4 h, 2.1 days."""
    for unit, size in (("days", 86_400), ("h", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
