"""Probe and evaluation through their command lines, on features that were really pretrained."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pvn.data.store import read_dataset

TINY = [
    "--config.num_envs=4",
    "--config.num_steps=1200",
    "--config.learn_after=200",
    "--config.fqi_refit_every=400",
    "--config.fqi_iterations=5",
    "--config.eval_episodes=6",
    "--config.eval_epsilon=0.2",
]


@pytest.fixture(scope="module")
def features(run: Callable, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("evaluate") / "run"
    result = run(
        "pvn.pretrain",
        f"--config.dataset={dataset}",
        f"--workdir={workdir}",
        "--config.num_features=64",
        "--config.num_tasks=4",
        "--config.tasks_per_network=4",
        "--config.num_steps=10",
        "--config.batch_size=8",
    )
    assert result.returncode == 0, result.stderr
    return workdir


def _rows(workdir: Path, name: str = "scores.jsonl") -> list[dict]:
    return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


@pytest.mark.parametrize("head", ["fqi", "dqn"])
def test_head_scores_and_policy(run: Callable, features: Path, tmp_path: Path, head: str) -> None:
    arguments = ["pvn.evaluate", f"--features={features}", *TINY, f"--config.head={head}"]
    result = run(*arguments, f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 0, result.stderr
    rows = _rows(tmp_path / "a")
    assert set(rows[0]) == {
        "game",
        "method",
        "head",
        "seed",
        "phase",
        "agent_step",
        "return",
        "length",
    }
    assert {(r["game"], r["method"], r["head"]) for r in rows} == {("Breakout", "pvn", head)}
    assert sum(r["phase"] == "eval" for r in rows) == 6
    assert all(r["agent_step"] <= 1200 for r in rows)
    if head == "fqi":  # at learn_after, at each multiple of refit_every, and at the end
        fits = [row["step"] for row in _rows(tmp_path / "a", "metrics.jsonl")]
        assert fits == [200, 400, 800, 1200]

    # The same seed plays the same episodes; a finished evaluation is left alone.
    run(*arguments, f"--workdir={tmp_path / 'b'}")
    assert _rows(tmp_path / "b") == rows
    again = run(*arguments, f"--workdir={tmp_path / 'a'}")
    assert again.returncode == 0
    assert "complete, mean return" in again.stderr
    assert _rows(tmp_path / "a") == rows

    # And its policy plays.
    data = tmp_path / "data"
    collect = ["pvn.collect", "--game=Breakout", "--num_steps=300", "--num_envs=2"]
    played = run(*collect, f"--policy={tmp_path / 'a'}", "--epsilon=0.0", f"--dataset={data}")
    assert played.returncode == 0, played.stderr
    assert len(read_dataset(data).attributes["source"]["head_sha256"]) == 64
    assert read_dataset(data).attributes["source"]["policy"] == str(tmp_path / "a")
    wrong = run(
        "pvn.collect", "--game=Pong", f"--policy={tmp_path / 'a'}", f"--dataset={tmp_path / 'pong'}"
    )
    assert wrong.returncode == 1
    assert "was fitted on Breakout with 4 actions, not on Pong with 6" in wrong.stderr


def test_baselines_and_report(run: Callable, dataset: Path, features: Path, tmp_path: Path) -> None:
    for name, more in {
        "pvn": [f"--features={features}"],
        "random": ["--features=random", f"--config.like={features}"],
        "none": ["--features=none", "--config.game=Breakout"],
    }.items():
        result = run("pvn.evaluate", f"--workdir={tmp_path / name}", *TINY, *more)
        assert result.returncode == 0, result.stderr
    assert {r["method"] for r in _rows(tmp_path / "none")} == {"random_policy"}
    assert all(r["phase"] == "eval" for r in _rows(tmp_path / "none"))
    assert {r["method"] for r in _rows(tmp_path / "random")} == {"random_features"}
    probe = ["pvn.probe", f"--dataset={dataset}", f"--workdir={tmp_path / 'probe'}"]
    for _ in range(2):  # a probe that is made again replaces its row
        assert run(*probe, f"--features={features}", "--discount=0.9").returncode == 0
    result = run(*probe, "--features=random", f"--like={features}", "--discount=0.9")
    assert result.returncode == 0, result.stderr
    rows = _rows(tmp_path / "probe", "probes.jsonl")
    assert [r["method"] for r in rows] == ["pvn", "random_features"]
    for row in rows:
        assert row["r2_low"] <= row["r2"] <= row["r2_high"]
        assert row["num_features"] == 64
    inputs = ",".join(str(tmp_path / name) for name in ("pvn", "random", "none", "probe"))
    report = run("pvn.report", f"--inputs={inputs}", f"--workdir={tmp_path / 'report'}")
    assert report.returncode == 0, report.stderr
    for name in ("PVN features", "random-network features", "random policy"):
        assert name in report.stdout
    assert (tmp_path / "report" / "report.html").is_file()


def test_random_play_is_the_known_one(run: Callable, tmp_path: Path) -> None:
    result = run(
        "pvn.evaluate",
        "--features=none",
        "--config.game=Breakout",
        f"--workdir={tmp_path}",
        "--config.eval_episodes=60",
        "--config.num_envs=10",
    )
    assert result.returncode == 0, result.stderr
    # 1.2 to 1.7 in the literature; standard error here 0.17.
    assert 0.7 < np.mean([r["return"] for r in _rows(tmp_path)]) < 2.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features=/nowhere"], "error: features /nowhere: no features.json there"),
        (["--features=none"], "error: config.game: is empty, expected a game"),
        (["--features=random"], "error: config.game: is empty, expected a game"),
        (
            ["--features=none", "--config.game=Pnog"],
            "error: unknown game 'Pnog'; did you mean Pong",
        ),
        (
            ["--features=random", "--config.game=Pong", "--config.num_steps=1000"],
            "error: config.num_steps: 1000 ends before anything is learned, expected at least",
        ),
        (["--features=none", "--config.head=c51"], "error: config.head: 'c51', expected one of"),
        (
            ["--features=none", "--config.game=Pong", "--config.discount=1.0"],
            "error: config.discount: 1.0, expected a number in [0, 1)",
        ),
    ],
)
def test_bad_input(run: Callable, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("pvn.evaluate", f"--workdir={tmp_path / 'eval'}", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message), result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "eval").exists()


def test_features_of_another_game_or_protocol(
    run: Callable, features: Path, tmp_path: Path
) -> None:
    arguments = ["pvn.evaluate", f"--workdir={tmp_path / 'eval'}"]
    result = run(*arguments, f"--features={features}", "--config.game=Pong")
    assert result.returncode == 1
    assert "were learned with 4 actions on Breakout; Pong has 6" in result.stderr
    import shutil

    other = tmp_path / "features"
    shutil.copytree(features / "features", other)
    metadata = json.loads((other / "features.json").read_text())
    metadata["protocol"]["frameskip"] = 2
    (other / "features.json").write_text(json.dumps(metadata))
    result = run(*arguments, f"--features={other}")
    assert result.returncode == 1
    assert "were learned from other observations: frameskip 2, here 4" in result.stderr
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features=random", "--discount=1"], "error: --discount=1.0: expected a number in"),
        (["--features=random", "--dataset=/nowhere"], "error: dataset /nowhere: does not exist"),
        (["--features=random", "--targets=x"], "error: flag --targets=x: value should be one of"),
        (["--features=/nowhere"], "error: features /nowhere: no features.json there"),
    ],
)
def test_bad_probe(
    run: Callable, dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("pvn.probe", f"--dataset={dataset}", f"--workdir={tmp_path}", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message), result.stderr
    assert result.stderr.count("\n") == 1


def test_interrupted_evaluation_leaves_no_scores_and_starts_again(
    run: Callable, start: Callable, tmp_path: Path
) -> None:
    arguments = [
        "pvn.evaluate", "--features=none", "--config.game=Breakout", f"--workdir={tmp_path}",
        "--config.eval_episodes=300", "--config.num_envs=4",
    ]  # fmt: skip
    process = start(*arguments)
    partial = tmp_path / "scores.jsonl.partial"
    while process.poll() is None and not (partial.is_file() and partial.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 143
    assert "interrupted; the same command starts this evaluation again" in stderr
    assert not (tmp_path / "scores.jsonl").exists()
    again = run(*arguments[:-2], "--config.eval_episodes=300", "--config.num_envs=4")
    assert again.returncode == 0, again.stderr
    assert len(_rows(tmp_path)) == 300


def test_methods_can_be_named(run: Callable, tmp_path: Path) -> None:
    result = run(
        "pvn.evaluate", "--features=none", "--config.game=Breakout", f"--workdir={tmp_path}",
        "--config.eval_episodes=2", "--config.num_envs=2", "--config.method=mine",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {row["method"] for row in _rows(tmp_path)} == {"mine"}
