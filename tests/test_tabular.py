"""Exact MDPs through the command line: the default run, its options, bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

QUICK = ["--config.num_steps=40", "--config.log_every=20", "--config.batch_size=32"]
FILES = {
    "config.json", "convergence.png", "eigenfunctions.png", "features.npy", "indicators.png",
    "mdp.npz", "metrics.jsonl", "run.json", "subspace.json", "tensorboard",
}  # fmt: skip


def test_the_default_run_finds_the_proto_value_functions(run: Callable, tmp_path: Path) -> None:
    workdir = tmp_path / "four_rooms"
    result = run("pvn.tabular", "--config=configs/four_rooms.py", f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"{workdir}: smallest cosine to the 12 proto-value functions ")
    assert result.stderr.count("\n") == 1
    assert {path.name for path in workdir.iterdir()} == FILES
    summary = json.loads((workdir / "subspace.json").read_text())
    assert summary["dimension"] == 12
    for name in ("proto_value_functions", "successor_measure"):
        cosines = summary[name]["cosines"]
        assert len(cosines) == 12
        assert 0.99 <= cosines[-1] == min(cosines) <= 1
    np.testing.assert_allclose(
        summary["these_tasks"]["cosines"], summary["proto_value_functions"]["cosines"], atol=1e-9
    )
    np.testing.assert_allclose(
        summary["these_tasks"]["closed_form_to_proto_value_functions"], 1, atol=1e-9
    )
    assert (summary["num_tasks"], summary["dead_tasks"]) == (68, 0)
    fits = summary["value_functions"]
    assert fits["num_rewards"] == 100
    assert 0 < fits["best_fit_error"] < fits["fit_error"] < 1

    arrays = np.load(workdir / "mdp.npz")
    assert arrays["transition"].shape == (4, 68, 68)
    assert arrays["transition"].dtype == np.float64
    assert arrays["coordinates"].shape == (68, 2)
    assert arrays["discount"] == 0.9
    # The cosines, computed from the files.
    features = np.load(workdir / "features.npy")
    assert (features.shape, features.dtype) == ((68, 12), np.float32)
    _, vectors = np.linalg.eigh(arrays["transition"].mean(axis=0))
    span, _ = np.linalg.qr(features.astype(np.float64))
    found = np.linalg.svd(span.T @ vectors[:, -12:], compute_uv=False)
    np.testing.assert_allclose(found, summary["proto_value_functions"]["cosines"], atol=1e-6)

    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(500, 12_001, 500))
    assert rows[-1]["cosine_proto_values"] == pytest.approx(found.min(), abs=1e-6)
    for name in FILES:
        if name.endswith(".png"):
            assert (workdir / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "changes",
    [
        ["--config.mdp=open_grid", "--config.indicator=random_network", "--config.num_tasks=20"],
        ["--config.mdp=torus", "--config.indicator=random_sets"],
        [
            *("--config.encoder=nature", "--config.indicator=random_cumulant"),
            *("--config.learning_rate=1e-4", "--config.num_steps=4", "--config.batch_size=8"),
        ],
        ["--config.size=2", "--config.batch_size=0", "--config.task_counts=(5,30)"],
    ],
)
def test_options_run(run: Callable, tmp_path: Path, changes: list[str]) -> None:
    workdir = tmp_path / "run"
    result = run("pvn.tabular", f"--workdir={workdir}", *QUICK, *changes)
    assert result.returncode == 0, result.stderr
    summary = json.loads((workdir / "subspace.json").read_text())
    assert 0 <= summary["proto_value_functions"]["cosines"][-1] <= 1
    assert summary["numerical_rank"] >= 2
    assert "these_tasks" in summary
    assert (workdir / "tasks.png").is_file() == ("random_sets" in summary)
    if "random_sets" in summary:
        found = summary["random_sets"]
        assert found["counts"] == [5, 30]
        assert [len(found["learned_cosine"][loss]) for loss in ("td", "monte_carlo")] == [2, 2]
        for draws in found["closed_form_cosines"].values():
            assert np.array(draws).shape == (2, 10)
            assert max(draws[0]) == 0  # of five sets


def test_a_chain_that_is_not_symmetric(run: Callable, tmp_path: Path) -> None:
    """Learned from returns. (By TD, and with another seed: tests/tabular/test_learner.py.)"""
    workdir = tmp_path / "run"
    result = run(
        "pvn.tabular",
        "--config=configs/garnet.py",
        "--config.loss=monte_carlo",
        "--config.num_steps=5000",
        f"--workdir={workdir}",
    )
    assert result.returncode == 0, result.stderr
    summary = json.loads((workdir / "subspace.json").read_text())
    assert summary["successor_measure"]["cosines"][-1] > 0.99
    assert summary["proto_value_functions"]["cosines"][-1] < 0.2


def test_an_mdp_of_ones_own_and_the_same_run_again(run: Callable, tmp_path: Path) -> None:
    file, workdir = tmp_path / "mine.npz", tmp_path / "run"
    ring = np.roll(np.eye(9), 1, axis=1)
    np.savez(file, transition=np.stack([ring, ring.T]))
    arguments = ["pvn.tabular", f"--config.mdp={file}", f"--workdir={workdir}", *QUICK]
    arguments += ["--config.num_features=3"]
    features = []
    for _ in range(2):
        result = run(*arguments)
        assert result.returncode == 0, result.stderr
        features.append(np.load(workdir / "features.npy"))
    np.testing.assert_array_equal(*features)
    np.testing.assert_array_equal(np.load(workdir / "mdp.npz")["transition"], [ring, ring.T])
    assert np.load(workdir / "mdp.npz")["coordinates"].shape == (9, 2)


@pytest.mark.parametrize(
    "changes",
    [
        ["--config.size=2"],  # with p = 0.1 every task is the same in both states
        [  # the states do not fit on an image
            *("--config.size=100", "--config.batch_size=0", "--config.predict=action_values"),
        ],
    ],
)
def test_chains_without_a_random_networks_panel(
    run: Callable, tmp_path: Path, changes: list[str]
) -> None:
    workdir = tmp_path / "run"
    arguments = (*QUICK, "--config.mdp=chain", "--config.num_features=2", *changes)
    result = run("pvn.tabular", f"--workdir={workdir}", *arguments)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in workdir.iterdir()} == FILES
    summary = json.loads((workdir / "subspace.json").read_text())
    assert ("these_tasks" in summary) == ("--config.predict=action_values" not in changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.discount=1.0"], "config.discount: 1.0, expected a number in [0, 1)"),
        (
            ["--config.dimension=69", "--config.num_features=80"],
            "config.dimension: 69, expected 1 to 68 (states)",
        ),
        (["--config.dimension=13"], "config.dimension: 13, expected at most config.num_features"),
        (["--config.mdp=torus", "--config.dimension=7"], "config.dimension: 7 separates equal eig"),
        (["--config.num_tasks=5"], "config.num_tasks: 5, expected 0 or 68: state_equality has a"),
        (
            ["--config.encoder=nature", "--config.batch_size=0"],
            "config.batch_size: 0, expected 1 or more unless encoder is table",
        ),
        (["--config.encoder=natur"], "encoder 'natur': expected one of nature, nature_xavier"),
        (["--config.mdp=maze"], "config.mdp: 'maze', expected four_rooms, open_grid, torus, chain"),
        (["--config.mdp=nowhere.npz"], "mdp nowhere.npz: No such file or directory"),
        (
            [
                "--config.mdp=chain",
                "--config.num_features=2",
                "--config.indicator=random_network",
            ],
            "config.indicator: all 4 tasks are the same in every state; expected another pro",
        ),
        (["--config.discount=0.0"], "config.num_features: 12, expected 68 or more: with fewer dim"),
        (["--config.learning_rate=1e30"], "the loss or its gradient is not finite at step "),
    ],
)
def test_bad_input(run: Callable, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("pvn.tabular", f"--workdir={tmp_path / 'run'}", *QUICK, *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


def test_rows_that_do_not_sum_to_one(run: Callable, tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, transition=np.full((2, 3, 3), 0.3))
    result = run("pvn.tabular", f"--config.mdp={file}", f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert result.stderr == (
        f"error: mdp {file}: the row transition[0, 0] sums to 0.9, expected 1 (within 1e-9: "
        "float64)\n"
    )
    assert not (tmp_path / "run").exists()
