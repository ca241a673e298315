"""The benchmarks run and print all their lines. Speed is not tested."""

import json
import os
import time
from collections.abc import Callable

from benchmarks.measure import measure


def test_train_step(run: Callable) -> None:
    result = run("benchmarks.train_step", "--cases=nature:10", "--rounds=1", "--batch_size=4")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["case"] for row in rows] == ["pvn", "published"]
    promised = {"ms", "transitions_per_second", "gflops", "share_of_matmul", "peak_memory_mib"}
    for row in rows:
        assert promised <= set(row)


def test_floor(run: Callable) -> None:
    result = run("benchmarks.floor", "--cases=nature:10:4", "--rounds=1")
    assert result.returncode == 0, result.stderr
    (row,) = map(json.loads, result.stdout.splitlines())
    assert min(row["ms"], row["layers_ms"], row["bytes_ms"], row["share_of_floor"]) > 0


def test_evaluate(run: Callable) -> None:
    result = run("benchmarks.evaluate", "--num_envs=8", "--num_steps=1200")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["case"] for row in rows] == ["fqi", "dqn"]
    assert all(row["share_of_emulator"] > 0 for row in rows)


def test_heads(run: Callable) -> None:
    flags = ("--tasks=10", "--batch_sizes=4", "--rounds=1")
    result = run("benchmarks.heads", *flags)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = ["pvn", "plain_malloc", "all_values"]
    assert [(row["case"], row["num_tasks"]) for row in rows] == [(kind, 10) for kind in kinds]
    assert [row["times_first"] for row in rows[:2]] == [1, 1]


def _reports_a_variable() -> Callable[[], object]:
    assert os.environ.get("PVN_TEST_CASE") in (None, "own")
    pause = 0.05 if os.environ.get("PVN_TEST_CASE") else 0.001
    return lambda: time.sleep(pause)


def test_a_case_has_an_environment_of_its_own() -> None:
    cases = dict.fromkeys(("plain", "own"), _reports_a_variable)
    found = measure(cases, 1, {"own": {"PVN_TEST_CASE": "own"}})
    assert found["own"].seconds > 0.05 > found["plain"].seconds
    assert "PVN_TEST_CASE" not in os.environ


def test_data(run: Callable) -> None:
    result = run("benchmarks.data", "--num_frames=3000", "--rounds=1")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["case"] for row in rows] == [
        "convert_dopamine", "convert_rlds", "convert_rlds_raw",
        "sample_memory", "sample_rotating_quarter", "sample_device", "sample_device_draws",
        "sample_device_rotating_quarter", "floor_copy", "floor_zstd_decode",
    ]  # fmt: skip
    for row in rows:
        assert all(value > 0 for key, value in row.items() if key.endswith("per_second"))


def test_minatar(run: Callable) -> None:
    result = run("benchmarks.minatar", "--num_steps=3000", "--pretrain_steps=20")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["case"] for row in rows] == ["pvn.collect", "pvn.pretrain", "pvn.evaluate"]
    assert all(row["seconds"] > 0 for row in rows)


def test_sizing(run: Callable) -> None:
    result = run("benchmarks.sizing", "--widths=1", "--encoders=nature", "--batch_sizes=32")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["case"] for row in rows] == ["step"] * 3 + ["state"] * 12
    assert all(min(row["gflop"], row["temporary_gib"]) > 0 for row in rows[:3])
    assert all(row["state_gib"] > 0 for row in rows[3:])
