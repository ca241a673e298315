"""pvn.evaluate, killed and stopped for real: the results have the bytes of an undisturbed run."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from tests.datasets import read_dataset
from tests.files import contents

TINY = [
    "--game=Breakout",
    "--config.num_envs=4",
    "--config.num_steps=1202",
    "--config.learn_after=200",
    "--config.fqi.refit_every=500",
    "--config.fqi.sweeps=2",
    "--config.replay_capacity=400",
    "--config.eval_episodes=10",
    "--config.eval_epsilon=0.2",
]
LEARNED = 1200  # agent steps
PARTIAL = "scores.jsonl.partial"


def results(workdir: Path) -> dict[str, bytes]:
    """The contents of all files but those that tell of the command, or where they do."""
    found = contents(workdir)
    if described := found.get("policy/features/features.json"):
        found["policy/features/features.json"] = json.dumps(
            json.loads(described) | {"command": ""}
        ).encode()
    of_command = ("tensorboard/", "run.json", "config.json", "policy/features/README.md")
    return {name: content for name, content in found.items() if not name.startswith(of_command)}


def newest(workdir: Path) -> int:
    """Agent step of the newest checkpoint; -1 if there is none."""
    steps = [int(file.stem.removeprefix("step_")) for file in workdir.rglob("step_*.json")]
    return max(steps, default=-1)


def learned_at(workdir: Path) -> int:
    """Labels behind the newest checkpoint; -1 if there is none."""
    files = sorted(workdir.rglob("step_*.json"))
    return json.loads(files[-1].read_text())["learned_at"] if files else -1


@pytest.fixture
def interrupt(start: Callable) -> Callable:
    """interrupt(signal, ready, ...): sends the signal when ready() is true. Returns stderr."""

    def command(number: signal.Signals, ready: Callable[[], bool], *arguments: str) -> str:
        process = start(*arguments)
        while process.poll() is None and not ready():
            sleep(0.002)
        process.send_signal(number)
        _, stderr = process.communicate()
        status = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert process.returncode == status, stderr
        return stderr

    return command


def test_killed_again_and_again(run: Callable, interrupt: Callable, tmp_path: Path) -> None:
    """With fqi. (The states of both learners: tests/evaluation/test_learner.py.)"""
    arguments = ["pvn.evaluate", "--features=random", *TINY, "--game=MinAtar/Breakout"]
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    result = run(*arguments, f"--workdir={whole}")
    assert result.returncode == 0, result.stderr
    arguments.append(f"--workdir={workdir}")

    def has_checkpoint(step: int) -> Callable[[], bool]:
        return lambda: newest(workdir) >= step

    # Right after the first checkpoint. Rows after it are removed, and a line that was cut off too.
    every = "--config.checkpoint_every"
    assert interrupt(signal.SIGKILL, has_checkpoint(0), *arguments, f"{every}=100") == ""
    first = newest(workdir)
    for file, line in (("metrics.jsonl", f'{{"step": {first + 4}}}\n'), (PARTIAL, '{"game": "Br')):
        with (workdir / file).open("a") as stream:
            stream.write(line)
    # While it learns, in an orderly way.
    stderr = interrupt(signal.SIGTERM, has_checkpoint(500), *arguments, f"{every}=40")
    stopped = newest(workdir)
    assert first < stopped < LEARNED
    assert stderr == (
        f"{workdir}: resumes at agent step {first:,}\n"
        f"{workdir}: stopped, saved at agent step {stopped:,}; the same command resumes\n"
    )
    assert not (workdir / "scores.jsonl").exists()
    # Between the last fit, which logs metrics, and the evaluation episodes.

    def last_fit() -> bool:
        return f'"step": {LEARNED},' in (workdir / "metrics.jsonl").read_text()

    interrupt(signal.SIGKILL, last_fit, *arguments, f"{every}=4")
    # While it plays evaluation episodes. Then the newest checkpoint is damaged.
    interrupt(signal.SIGKILL, has_checkpoint(LEARNED + 4), *arguments, f"{every}=100")
    played = newest(workdir)
    damaged = workdir / "checkpoints" / f"step_{played:010d}.npz"
    damaged.write_bytes(damaged.read_bytes()[:-1])

    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    passed_over, resumes, _ = result.stderr.splitlines()
    assert passed_over.endswith(f": passed over, its file {damaged.name} is corrupt")
    before = int(resumes.removeprefix(f"{workdir}: resumes at agent step ").replace(",", ""))
    assert LEARNED <= before < played
    assert results(workdir) == results(whole)
    assert {"scores.jsonl", "summary.json", "metrics.jsonl", "policy/head.safetensors"} <= set(
        results(whole)
    )
    assert not (workdir / "checkpoints").exists()


def test_random_play_is_resumed(run: Callable, interrupt: Callable, tmp_path: Path) -> None:
    arguments = ["pvn.evaluate", "--features=none", *TINY, "--config.eval_episodes=20"]
    whole, workdir = tmp_path / "whole", tmp_path / "stopped"
    assert run(*arguments, f"--workdir={whole}").returncode == 0
    arguments += [f"--workdir={workdir}", "--config.checkpoint_every=400"]
    stderr = interrupt(signal.SIGINT, lambda: newest(workdir) >= 800, *arguments)
    step = newest(workdir)
    assert stderr == f"{workdir}: stopped, saved at agent step {step:,}; the same command resumes\n"
    result = run(*arguments)
    assert result.stderr.startswith(f"{workdir}: resumes at agent step {step:,}\n")
    assert results(workdir) == results(whole)
    rows = [json.loads(line) for line in results(workdir)["scores.jsonl"].splitlines()]
    assert len(rows) == 20


def test_pixels_and_labels_are_resumed(
    run: Callable, start: Callable, interrupt: Callable, tmp_path: Path
) -> None:
    """DQN from pixels with prioritised replay and a dataset; then a head on that dataset."""
    fewer = ("--config.eval_episodes=4", "--config.videos=False")
    pixels = [
        "pvn.evaluate", "--features=random", *TINY, "--config.head=dqn",
        "--config.num_steps=600", "--config.dqn.encoder_learning_rate=1e-4",
        "--config.dqn.priority_exponent=0.5", "--config.dqn.update_every=20", *fewer,
    ]  # fmt: skip
    for name in ("whole", "killed"):
        own = [*pixels, f"--save_dataset={tmp_path / f'{name}_data'}"]
        own += [f"--workdir={tmp_path / name}", "--config.checkpoint_every=100"]
        if name == "killed":
            interrupt(signal.SIGKILL, lambda: newest(tmp_path / "killed") >= 400, *own)
        result = run(*own)
        assert result.returncode == 0, result.stderr
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    one, other = (read_dataset(tmp_path / f"{name}_data").rows for name in ("whole", "killed"))
    for expected, found in zip(one, other, strict=True):
        np.testing.assert_array_equal(found, expected)

    labels = [
        "pvn.evaluate", f"--features={tmp_path / 'whole' / 'policy'}", *TINY,
        f"--dataset={tmp_path / 'whole_data'}", "--config.num_labels=(300,500)",
        "--config.checkpoint_every=100", *fewer,
    ]  # fmt: skip
    for name in ("all", "parts"):
        own = [*labels, f"--workdir={tmp_path / name}"]
        if name == "parts":  # while the second head plays
            stderr = interrupt(signal.SIGTERM, lambda: learned_at(tmp_path / "parts") == 500, *own)
            assert "saved at agent step" in stderr
            assert learned_at(tmp_path / "parts") == 500
        result = run(*own)
        assert result.returncode == 0, result.stderr
    assert results(tmp_path / "parts") == results(tmp_path / "all")
