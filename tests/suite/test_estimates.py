"""Estimates of time: bars in logs, extrapolation by hand, a real calibration; the table."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from pvn.suite import calibration
from pvn.suite.calibration import (
    _Bar,
    _extrapolate,
    calibrate,
    read_calibration,
    write_calibration,
)
from pvn.suite.cells import Cell, expand
from pvn.suite.estimate import Estimates, format_time
from pvn.suite.plan import read_plan
from pvn.suite.process import Progress, error_line, last_progress, last_warning
from pvn.suite.record import log_file, write_record
from pvn.suite.scheduler import Scheduler
from pvn.suite.table import cells_table, counts, eta, table
from tests.suite.cells import make_cell


def _log(cell: Cell, text: str) -> None:
    log_file(cell).parent.mkdir(parents=True, exist_ok=True)
    log_file(cell).write_text(text)


def test_the_last_progress_and_the_error_of_the_last_start(tmp_path: Path) -> None:
    cell = make_cell(tmp_path, "Pong/0/evaluate/pvn")
    assert last_progress(cell) is None
    bar = "learn fqi:  12%|█▏        | 7200/60000 [00:05<00:38, 1370.11 steps/s, recent returns 2]"
    _log(cell, f"== 2026 command\nerror: old\n== 2026 command\n\r{bar[:9]}\r{bar}")
    assert last_progress(cell) == Progress(
        "learn fqi", 7200, 60_000, "00:05<00:38, 1370.11 steps/s, recent returns 2"
    )
    assert str(last_progress(cell)).startswith("learn fqi 12% of 60,000 [00:05<00:38, 1370.11 ")
    assert error_line(cell, 9) == "learn fqi"
    _log(cell, f"== 2026 command\n{bar}\nerror: it broke\nmore\n")
    assert error_line(cell, 1) == "it broke"


def test_the_last_warning_of_the_last_start(tmp_path: Path) -> None:
    cell = make_cell(tmp_path, "Pong/0/pretrain/pvn")
    assert last_warning(cell) == ""
    _log(cell, "== 2026 command\nwarning: old\n== 2026 command\nall is well\n")
    assert last_warning(cell) == ""
    bar = "pretrain:  12%|█▏        | 7200/60000 [00:05<00:38, 1370.11 steps/s]"
    many = f"\r{bar}" * 1_000  # more than a tail of the log
    _log(cell, f"== 2026 command\nwarning: one\n\r{bar}\nwarning: step 7: dead\n{many}\ndone\n")
    assert last_warning(cell) == "step 7: dead"


@pytest.mark.parametrize(
    ("clock", "unit"),
    [
        ("00:04<01:24,  4.43s/ steps", "steps"),
        ("00:00<?, ? episodes/s", "episodes"),
        ("00:12<00:00, 247.74 states/s", "states"),
        ("00:12", ""),
    ],
)
def test_units(clock: str, unit: str) -> None:
    assert Progress("x", 1, 2, clock).unit == unit


def test_extrapolation_by_hand() -> None:
    bars = {
        # 100 states/s after the start: 3,000 states in the calibration, 50,000 in the cell.
        "responses": _Bar((4.0, 0), (5.0, 100), (15.0, 1100), 3000, "states"),
        # 2 steps/s; the first took 3 s, because it compiles.
        # Seen only when it was full: no time.
        "data": _Bar((15.5, 0), (15.5, 3000), (15.5, 3000), 3000, "frames"),
        "pretrain": _Bar((16.0, 0), (19.0, 1), (24.0, 11), 4500, "steps"),
    }
    # Outside of what was measured: 25 s - 10 s - 5 s.
    expected = 10 + 500 + 2250
    assert _extrapolate(bars, 25.0, {"states": 50_000 / 3000}) == pytest.approx(expected)
    # Episodes count from the start of their bar: all environments begin at the same time.
    episodes = {"evaluate": _Bar((2.0, 0), (6.0, 4), (12.0, 20), 100, "episodes")}
    assert _extrapolate(episodes, 13.0, {}) == pytest.approx(3 + 50)
    stuck = {"pretrain": _Bar((1.0, 0), (1.0, 0), (1.0, 0), 4500, "steps")}
    assert _extrapolate(stuck, 60.0, {}) is None
    assert _extrapolate({}, 60.0, {}) is None


def test_measured_times_replace_calibrated_ones(tmp_path: Path) -> None:
    one, two = (make_cell(tmp_path, f"Pong/{seed}/evaluate/pvn") for seed in (0, 1))
    other = make_cell(tmp_path, "Pong/0/probe/value-pvn")
    estimates = Estimates({"evaluate/pvn": 100.0})
    assert estimates.total([one, two, other]) == (200.0, 1)
    for cell, parts in ((one, [(10.0, False), (20.0, True)]), (two, [(50.0, True)])):
        log_file(cell).parent.mkdir(parents=True, exist_ok=True)
        for seconds, complete in parts:
            write_record(cell, seconds, complete)
    estimates.add([one, two])
    assert estimates.seconds(two) == 40.0
    stopped = make_cell(tmp_path, "Pong/2/evaluate/pvn")
    assert estimates.left(stopped) == 40.0
    log_file(stopped).parent.mkdir(parents=True)
    write_record(stopped, 15.0, False)
    assert estimates.left(stopped) == 25.0
    assert estimates.left(other) is None
    assert [format_time(x) for x in (40, 600, 9000, 200_000)] == [
        *("40 s", "10 min", "2.5 h", "2.3 days")
    ]


def test_a_real_calibration_is_kept_for_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "ROWS", 500)
    config = {"games": "Pong", "datasets": {"random": {"flags": {"num_steps": 6_000_000}}}}
    plan = read_plan(config)
    (found,) = calibrate(lambda folder: expand(plan, folder), {})
    assert found.kind == "data/random"
    assert found.seconds is not None
    assert 100 < found.seconds < 1e6  # the emulator plays less than 60,000 steps a second
    cells = expand(plan, f"{tmp_path}/a")
    write_calibration(f"{tmp_path}/a", cells, {"data/random": 7.0})
    assert read_calibration(f"{tmp_path}/a", cells) == {"data/random": 7.0}
    elsewhere = expand(plan, f"{tmp_path}/b")
    assert read_calibration(f"{tmp_path}/a", elsewhere) == {"data/random": 7.0}
    other = expand(read_plan(config | {"seeds": 5}), f"{tmp_path}/a")
    assert read_calibration(f"{tmp_path}/a", other) == {}
    assert list(calibrate(lambda folder: expand(plan, folder), {"data/random": 7.0})) == []


def test_a_fit_to_labels_is_calibrated_with_fewer_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ROWS", 500)
    monkeypatch.setattr(calibration, "_STEPS", 200)
    labels = {"num_labels": (1_000, 200_000), "eval_episodes": 8, "videos": False}
    config = {
        "games": "MinAtar/Breakout",
        "datasets": {"random": {"flags": {"num_steps": 210_000}}},
        "agents": {"untrained": {"features": "random", "dataset": "random", "overrides": labels}},
    }
    plan = read_plan(config)
    found = {each.kind: each for each in calibrate(lambda folder: expand(plan, folder), {})}
    estimate = found["evaluate/untrained"]
    assert estimate.seconds is not None, estimate.reason
    assert 1 < estimate.seconds < 3600
    without = read_plan(
        config | {"agents": {"untrained": {"features": "random", "dataset": "random"}}}
    )
    (found_without,) = calibrate(lambda folder: expand(without, folder), {"data/random": 1.0})
    assert found_without.seconds is None
    assert found_without.reason == "its overrides have no num_labels"


def test_the_table(tmp_path: Path) -> None:
    first, second = (make_cell(tmp_path, f"MinAtar/Asterix/{seed}/evaluate/pvn") for seed in (0, 1))
    probe = make_cell(tmp_path, "MinAtar/Asterix/0/probe/value-pvn", first.name)
    cells = [first, second, probe]
    scheduler = Scheduler(cells, num_jobs=2, is_complete=lambda cell: cell is first)
    estimates = Estimates({"evaluate/pvn": 100.0})
    assert counts(scheduler) == "1 done, 0 running, 2 waiting"
    assert eta(scheduler, estimates, 2) == "ETA more than 50 s, no time known for 1 cells"
    scheduler.failed[second.name] = "it [broke]"
    del scheduler.waiting[second.name]
    screen = Console(file=io.StringIO(), width=100)
    screen.print(table(scheduler, estimates, 2))
    shown = screen.file.getvalue().splitlines()
    assert [line.split() for line in shown[1:3]] == [
        ["evaluate/pvn", "1", "1", "100", "s"],
        ["probe/value-pvn", "1"],
    ]
    assert f"failed: {second.name}: it [broke]" in shown[4]
    assert shown[5].startswith("1 done, 0 running, 1 waiting, 1 failed; ETA unknown, no time known")
    assert cells_table(cells, {first.name}, estimates).splitlines() == [
        f"done {first.name}",
        f"     {second.name}",
        f"     {probe.name}",
        "",
        "    1 x evaluate/pvn: 100 s each, 100 s",
        "    1 x probe/value-pvn: unknown",
    ]
