"""The scheduler with real small processes: order, bounds, failures, time limits, signals, kills."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pvn.runs.console import Stop
from pvn.suite.cells import Cell
from pvn.suite.process import error_line
from pvn.suite.record import read_record
from pvn.suite.scheduler import Failed, Finished, Scheduler, Stopped, shares_of_cores

ROOT = Path(__file__).parents[2]

# A process that appends to `events` in its suite's directory. SIGTERM makes it save and end.
WORK = """
import pathlib, signal, sys, time
home, seconds, status = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
saving = float(sys.argv[4])
home.mkdir(exist_ok=True)
def note(text):
    with open(home.parent / "events", "a") as stream:
        stream.write(f"{text} {home.name}\\n")
    print(text, flush=True)
def save(number, _):
    time.sleep(saving)
    (home / "saved").touch()
    note("saved")
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
note("began")
if not (home / "saved").exists():
    time.sleep(seconds)
if status:
    sys.exit("error: it broke")
note("ended")
(home / "done").touch()
"""


def _cell(
    root: Path,
    name: str,
    *needs: str,
    seconds: float = 0.0,
    status: int = 0,
    saving: float = 0.3,
) -> Cell:
    """A cell that takes some seconds, and some to save when it is stopped."""
    home = f"{root}/{name}"
    arguments = (home, str(seconds), str(status), str(saving))
    return Cell(name, (sys.executable, "-c", WORK, *arguments), needs, home)


def _is_done(cell: Cell) -> bool:
    return (Path(cell.workdir) / "done").is_file()


def _scheduler(cells: list[Cell], num_jobs: int = 2, **settings: object) -> Scheduler:
    return Scheduler(cells, num_jobs=num_jobs, is_complete=_is_done, poll_seconds=0.01, **settings)


def _events(root: Path) -> list[str]:
    return (root / "events").read_text().splitlines()


def test_needs_come_first_and_jobs_are_bounded(tmp_path: Path) -> None:
    cells = [_cell(tmp_path, name, seconds=0.2) for name in "abc"]
    cells.append(_cell(tmp_path, "d", "a", "c"))
    scheduler, most = _scheduler(cells), 0
    finished = []
    for event in scheduler.run(Stop()):
        most = max(most, len(scheduler.running))
        if isinstance(event, Finished):
            finished.append(event.cell.name)
    assert most == 2
    assert sorted(finished) == ["a", "b", "c", "d"]
    assert list(scheduler.complete) == finished
    events = _events(tmp_path)
    assert {events.index(f"ended {name}") < events.index("began d") for name in "ac"} == {True}
    record = read_record(cells[0])
    assert record is not None
    assert record.complete
    assert 0.2 <= record.seconds < 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has an affinity")
def test_running_cells_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4, 5, 6})
    assert shares_of_cores(1) == [(0, 1, 4, 5, 6)]
    assert shares_of_cores(2) == [(0, 1), (4, 5, 6)]
    assert shares_of_cores(6) == [()] * 6
    monkeypatch.undo()
    count = len(os.sched_getaffinity(0))
    cells = []
    for name in "abc":
        code = f"import os, pathlib; home = pathlib.Path({f'{tmp_path}/{name}'!r}); home.mkdir()"
        code += "; (home / 'done').write_text(str(sorted(os.sched_getaffinity(0))))"
        home = f"{tmp_path}/{name}"
        cells.append(Cell(name, (sys.executable, "-c", code), (), home))
    for _ in _scheduler(cells, num_jobs=min(2, count)).run(Stop()):
        pass
    expected = {str(list(share)) for share in shares_of_cores(min(2, count))}
    assert {(tmp_path / name / "done").read_text() for name in "abc"} == expected


def test_one_job_runs_cells_in_their_order_and_complete_ones_not_again(tmp_path: Path) -> None:
    cells = [_cell(tmp_path, name) for name in "abc"]
    for cell in cells:
        for _ in _scheduler([cell]).run(Stop()):
            pass
    (tmp_path / "b" / "done").unlink()
    (tmp_path / "events").unlink()
    events = list(_scheduler(cells, num_jobs=1).run(Stop()))
    assert [event.cell.name for event in events if isinstance(event, Finished)] == ["b"]
    assert _events(tmp_path) == ["began b", "ended b"]


def test_a_failure_stops_only_what_depends_on_it(tmp_path: Path) -> None:
    cells = [
        _cell(tmp_path, "a", status=1),
        _cell(tmp_path, "b", "a"),
        _cell(tmp_path, "c", "b"),
        _cell(tmp_path, "d"),
    ]
    scheduler = _scheduler(cells)
    failed = [event for event in scheduler.run(Stop()) if isinstance(event, Failed)]
    assert failed == [Failed(cells[0], "it broke")]
    assert list(scheduler.complete) == ["d"]
    assert [cell.name for cell in scheduler.blocked] == ["b", "c"]


def test_status_0_without_results_is_a_failure(tmp_path: Path) -> None:
    cell = Cell("a", (sys.executable, "-c", "print('nothing done')"), (), f"{tmp_path}/a")
    scheduler = _scheduler([cell])
    list(scheduler.run(Stop()))
    assert scheduler.failed == {"a": "ended with status 0, but is not complete: nothing done"}


def test_the_reason_of_a_program_that_says_nothing(tmp_path: Path) -> None:
    cell = _cell(tmp_path, "a")
    assert error_line(cell, 3) == "ended with status 3"
    assert error_line(cell, -9) == "killed by signal 9 (SIGKILL)"
    assert error_line(cell, -40) == "killed by signal 40"


def test_the_reason_of_a_killed_program_is_not_its_last_warning(tmp_path: Path) -> None:
    code = "import os; os.write(2, b'a warning\\n'); os.kill(os.getpid(), 9)"
    scheduler = _scheduler([Cell("a", (sys.executable, "-c", code), (), f"{tmp_path}/a")])
    list(scheduler.run(Stop()))
    assert scheduler.failed == {"a": "killed by signal 9 (SIGKILL)"}


def test_a_time_limit_stops_what_runs_and_starts_only_what_fits(tmp_path: Path) -> None:
    cells = [
        _cell(tmp_path, "long", seconds=60),
        _cell(tmp_path, "short"),
        _cell(tmp_path, "late"),
    ]
    # `long` is longer than any limit, so it starts; `late` does not fit, so it does not.
    seconds = {"long": 60.0, "short": 0.1, "late": 1.95}
    scheduler = _scheduler(
        cells, num_jobs=1, minutes=2.0 / 60, estimate=lambda cell: seconds[cell.name]
    )
    scheduler.waiting = {name: scheduler.waiting[name] for name in ("short", "late", "long")}
    time.sleep(0.1)
    began = time.monotonic()
    events = list(scheduler.run(Stop()))
    assert time.monotonic() - began < 10
    assert [event.cell.name for event in events if isinstance(event, Stopped)] == ["long"]
    assert list(scheduler.complete) == ["short"]
    assert list(scheduler.waiting) == ["late", "long"]
    assert scheduler.failed == {}
    assert _events(tmp_path)[-1] == "saved long"


def test_no_time_starts_nothing(tmp_path: Path) -> None:
    assert list(_scheduler([_cell(tmp_path, "a")], minutes=0.0).run(Stop())) == []
    assert not (tmp_path / "events").exists()


DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from test_scheduler import _cell, _scheduler
from pathlib import Path
from pvn.runs.console import orderly_stop
root = Path(sys.argv[1])
cells = [_cell(root, "a", seconds=60, saving=float(sys.argv[2])), _cell(root, "b", "a")]
scheduler = _scheduler(cells)
with orderly_stop() as stop:
    for _ in scheduler.run(stop):
        pass
sys.exit(stop.status)
"""


def _start_driver(root: Path, saving: float = 0.3) -> subprocess.Popen[bytes]:
    """A suite of two cells in a process of its own."""
    code = textwrap.dedent(DRIVER).format(tests=str(Path(__file__).parent))
    return subprocess.Popen([sys.executable, "-c", code, str(root), str(saving)], cwd=ROOT)


def _wait_for(root: Path, *events: str) -> None:
    limit = time.monotonic() + 30
    while not (root / "events").exists() or _events(root) != list(events):
        assert time.monotonic() < limit, (root / "a.log").read_text()
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_passed_on_and_the_cells_save(tmp_path: Path, number: int, status: int) -> None:
    driver = _start_driver(tmp_path)
    _wait_for(tmp_path, "began a")
    os.kill(driver.pid, number)
    assert driver.wait(30) == status
    assert _events(tmp_path) == ["began a", "saved a"]


def test_after_a_kill_the_same_command_waits_for_the_old_process_and_goes_on(
    tmp_path: Path,
) -> None:
    driver = _start_driver(tmp_path, saving=2.5)
    _wait_for(tmp_path, "began a")
    driver.kill()
    driver.wait()
    assert _start_driver(tmp_path, saving=2.5).wait(30) == 0
    assert _events(tmp_path) == ["began a", "saved a", "began a", "ended a", "began b", "ended b"]
    assert not (tmp_path / "a.lock").exists()
    # 2.5 s of saving were after the kill.
    record = read_record(_cell(tmp_path, "a"))
    assert record is not None
    assert record.complete
    assert 2.5 <= record.seconds < 20
