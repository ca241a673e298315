"""With a full disk, every command exits with status 1 and one line that names the file."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pvn
from tests.output import without_dead

TINY = [
    "--config.num_features=32",
    "--config.num_tasks=4",
    "--config.batch_size=4",
    "--config.num_steps=10",
    "--config.log_every=5",
    "--config.checkpoint_every=5",
    "--config.keep_checkpoints=1",
]
BLOCK = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left: int) -> None:
    """Leaves `left` bytes free."""
    free = shutil.disk_usage(disk).free - left
    assert free >= 0
    with (disk / "filler").open("wb") as stream:
        stream.write(bytes(free))


@pytest.mark.parametrize(
    ("left", "file"),
    [
        (6 * BLOCK, "responses/fit"),
        (300 * 1024, "checkpoints/step_0000000005.partial/state.npz"),
    ],
)
def test_pretraining_stops_in_one_line_and_resumes(
    run: Callable, dataset: Path, disk: Path, left: int, file: str
) -> None:
    workdir = disk / "run"
    command = ["pvn.pretrain", f"--config.dataset={dataset}", f"--workdir={workdir}", *TINY]
    fill(disk, left)
    result = run(*command)
    assert result.returncode == 1
    assert f"{workdir}/{file}: " in result.stderr, result.stderr
    stderr = without_dead(result.stderr)
    assert stderr.endswith(": No space left on device\n"), result.stderr
    assert stderr.count("\n") == 1, result.stderr
    assert not list(workdir.glob("checkpoints/*"))
    (disk / "filler").unlink()
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert pvn.load_features(workdir).metadata["step"] == 10


def test_a_disk_that_fills_while_metrics_are_written(
    start: Callable, dataset: Path, disk: Path
) -> None:
    """A full disk must not block the writer of TensorBoard events."""
    workdir = disk / "run"
    process = start(
        "pvn.pretrain",
        f"--config.dataset={dataset}",
        f"--workdir={workdir}",
        *TINY,
        "--config.num_steps=100000",
        "--config.log_every=1",
        "--config.checkpoint_every=100000",
    )
    while not (workdir / "metrics.jsonl").is_file() or not (workdir / "metrics.jsonl").read_text():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    fill(disk, 0)
    stderr = without_dead(process.communicate(timeout=60)[1])
    assert process.returncode == 1
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith(f"error: {workdir}/"), stderr
    assert stderr.endswith(": No space left on device\n")
    assert (workdir / "metrics.jsonl").read_text().endswith("}\n")


def test_a_disk_that_fills_while_scores_are_written(
    run: Callable, start: Callable, disk: Path
) -> None:
    workdir = disk / "run"
    command = ["pvn.evaluate", "--features=none", "--game=Breakout", f"--workdir={workdir}"]
    process = start(*command, "--config.num_envs=2", "--config.eval_episodes=2000")
    partial = workdir / "scores.jsonl.partial"
    while not partial.is_file() or not partial.stat().st_size:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    fill(disk, 0)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert stderr == f"error: {partial}: No space left on device\n"
    assert not (workdir / "scores.jsonl").exists()
    (disk / "filler").unlink()
    again = run(*command, "--config.num_envs=2", "--config.eval_episodes=2", "--overwrite")
    assert again.returncode == 0, again.stderr
    assert len((workdir / "scores.jsonl").read_text().splitlines()) == 2


def test_a_dataset_and_a_report(run: Callable, disk: Path, tmp_path: Path) -> None:
    fill(disk, 16 * BLOCK)
    collect = ["pvn.collect", "--game=Breakout", "--num_steps=2500", f"--dataset={disk}/data"]
    result = run(*collect)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: dataset {disk}/data: cannot be written"), result.stderr
    assert "No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    scores = tmp_path / "in" / "scores.jsonl"
    scores.parent.mkdir()
    row = '{"game": "Pong", "agent": "pvn", "head": "fqi", "seed": 0, "phase": "eval", '
    scores.write_text(row + '"agent_step": 0, "episode_return": 1.0, "length": 5}\n')
    (disk / "filler").unlink()
    fill(disk, BLOCK)
    result = run("pvn.report", f"--inputs={scores.parent}", f"--workdir={disk}/report")
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert not list((disk / "report").glob("*.partial"))

    (disk / "filler").unlink()
    result = run(*collect)
    assert result.returncode == 0, result.stderr
    assert run("pvn.dataset", "verify", f"{disk}/data").returncode == 0
