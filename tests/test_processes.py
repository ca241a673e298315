"""Pretraining with two real processes of two devices each: equal results, lost processes."""

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.output import without_dead

# About 1,200 of 3,000 rows are buffered, in two lanes: each process reads one of them.
TINY = [
    "--config.num_features=32",
    "--config.num_tasks=4",
    "--config.batch_size=16",
    "--config.log_every=10",
    "--config.checkpoint_every=20",
    "--config.data_memory_gib=0.0105",
    # Adam divides small gradients by their size. The differences of rounding would be larger.
    "--config.optimizer=sgd",
    "--config.learning_rate=0.1",
]
STEPS = 50


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def processes(start: Callable, dataset: Path) -> Iterator[Callable]:
    """processes(workdir, flag, ...): starts both processes of a run."""
    started: list[subprocess.Popen[str]] = []

    def both(workdir: Path, *more: str) -> list[subprocess.Popen[str]]:
        flags = (f"--config.dataset={dataset}", f"--workdir={workdir}", *TINY, *more)
        port = free_port()
        pair = [start("pvn.pretrain", *flags, process=(rank, 2, port, 2)) for rank in (0, 1)]
        started.extend(pair)
        return pair

    yield both
    for process in started:  # after a failed test
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status and what pvn said on stderr."""
    _, stderr = process.communicate(timeout=200)
    said = without_dead(stderr).splitlines()
    lines = [line for line in said if line and not line.startswith("[Gloo]")]
    return process.returncode, "\n".join(lines)


def wait_for_rows(workdir: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Waits until metrics.jsonl has `count` rows."""
    file = workdir / "metrics.jsonl"
    while not file.is_file() or len(file.read_text().splitlines()) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def state_of(workdir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(workdir / "checkpoints" / f"step_{STEPS:010d}" / "state.npz"))


@pytest.mark.parametrize("residency", ["host", "device"])  # a moving buffer, or draws on devices
def test_two_processes_are_one_run(
    run: Callable, processes: Callable, dataset: Path, tmp_path: Path, residency: str
) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    more = [f"--config.num_steps={STEPS}"]
    if residency == "device":
        more += ["--config.data_memory_gib=0", "--config.candidates_per_task=3"]
    data = f"--config.dataset={dataset}"
    result = run("pvn.pretrain", data, f"--workdir={alone}", *TINY, *more)
    assert result.returncode == 0, result.stderr

    first, second = processes(both, *more, f"--config.data_residency={residency}")
    assert ended(second) == (0, "")
    status, said = ended(first)
    assert status == 0
    *before, last = said.splitlines()
    assert last == f"{both}: {STEPS} steps; features in {both / 'features'}"
    chosen = [line for line in before if line.startswith("tasks: 4 of 12 candidates")]
    other = [line for line in before if "no more controllable than by chance" not in line]
    assert (len(chosen), other) == ((1, chosen) if residency == "device" else (0, []))
    files = [w / "features" / "successor.safetensors" for w in (alone, both)]
    kept = [load_file(file).get("frozen.kept") for file in files]
    assert (kept[0] is not None) == (residency == "device")
    np.testing.assert_array_equal(*kept)
    # The same as one process with one device, but for the rounding of sums over the batch. By
    # processor, rounding may turn a unit on or off, which changes a bias by 1e-5.
    state, expected = state_of(both), state_of(alone)
    assert state.keys() == expected.keys()
    for name in state:
        np.testing.assert_allclose(state[name], expected[name], rtol=1e-3, atol=5e-5, err_msg=name)
    moved = np.abs(expected["params/encoder/Dense_0/kernel"]).max()
    assert moved > 0.01


def test_a_lost_process_ends_the_other(processes: Callable, tmp_path: Path) -> None:
    first, second = processes(workdir := tmp_path / "run", "--config.num_steps=100000")
    wait_for_rows(workdir, 1, first)
    second.send_signal(signal.SIGKILL)
    began = time.monotonic()
    line = "error: process 1 of this run has ended or does not answer; all processes stop"
    assert ended(first) == (1, line)
    assert time.monotonic() - began < 60


def test_a_signal_to_one_process_stops_all_at_the_same_step(
    run: Callable, processes: Callable, dataset: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    first, second = processes(workdir, "--config.num_steps=100000")
    wait_for_rows(workdir, 1, first)
    second.terminate()
    (status, said), (other_status, _) = ended(first), ended(second)
    assert (status, other_status) == (143, 143)
    assert f"{workdir}: stopped and saved at step " in said
    # Another number of processes may go on.
    step = json.loads((workdir / "features" / "features.json").read_text())["step"]
    data = f"--config.dataset={dataset}"
    more = f"--config.num_steps={step + 10}"
    result = run("pvn.pretrain", data, f"--workdir={workdir}", *TINY, more)
    assert result.returncode == 0, result.stderr
    assert f"{workdir}: {step + 10} steps" in result.stderr


def test_processes_that_disagree_or_never_arrive(
    start: Callable, dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(dataset, tmp_path / "other")
    flags = [f"--config.dataset={dataset}", f"--workdir={tmp_path}/run", *TINY]
    port = free_port()
    first = start("pvn.pretrain", *flags, process=(0, 2, port, 1))
    second = start("pvn.pretrain", *flags, "--config.seed=1", process=(1, 2, port, 1))
    line = "error: the config differs from that of process 0, expected the same everywhere"
    assert ended(second) == (1, line)
    assert ended(first)[0] == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()

    lonely = start("pvn.pretrain", *flags, "--arrival_seconds=2", process=(0, 2, free_port(), 1))
    line = "error: not all processes of this run arrived within 2 s; all must be started"
    assert ended(lonely) == (1, line)
