"""Pretraining on several datasets, on data larger than memory, and on data in device memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import pvn
from tests.files import metrics

TINY = [
    "--config.num_features=32",
    "--config.num_tasks=4",
    "--config.batch_size=16",
    "--config.log_every=40",
    "--config.checkpoint_every=40",
    # 3,000 and 800 rows are 26 MiB. About 1,200 are buffered at a time, in blocks of 64.
    "--config.data_memory_gib=0.0105",
]


@pytest.fixture(scope="module")
def other(run: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second dataset, of 800 timesteps of Breakout."""
    path = tmp_path_factory.mktemp("other") / "breakout"
    arguments = ("--game=Breakout", "--num_steps=800", "--seed=1", f"--dataset={path}")
    assert run("pvn.collect", *arguments).returncode == 0
    return path


def test_resumed_and_on_the_device_it_is_the_same_run(
    run: Callable, dataset: Path, other: Path, tmp_path: Path
) -> None:
    """Two weighted datasets, with a moving buffer that holds a third of them."""
    data = [f"--config.dataset={dataset},{other}", "--config.dataset_weights=(1,3)", *TINY]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = run("pvn.pretrain", *data, "--config.num_steps=80", f"--workdir={whole}")
    assert result.returncode == 0, result.stderr
    # A resumed run may change the memory in which the frames are.
    for steps, residency in ((40, "device"), (80, "host")):
        result = run(
            "pvn.pretrain",
            *data,
            f"--config.num_steps={steps}",
            f"--config.data_residency={residency}",
            f"--workdir={parts}",
        )
        assert result.returncode == 0, result.stderr
    assert metrics(parts) == metrics(whole)
    first, second = (load_file(w / "features" / "model.safetensors") for w in (parts, whole))
    for name, value in second.items():
        np.testing.assert_array_equal(first[name], value)
    told = pvn.load_features(whole).metadata["dataset"]
    assert told["path"] == f"{dataset},{other}"
    assert [source["seed"] for source in told["source"]] == [0, 1]


def test_all_in_device_memory_is_the_same_on_several_devices(
    run: Callable, minatar: Path, tmp_path: Path
) -> None:
    def steps(
        name: str, residency: str, together: int, num_steps: int = 40
    ) -> list[dict[str, float]]:
        result = run(
            "pvn.pretrain",
            f"--config.dataset={minatar}",
            "--config.encoder=minatar",
            *TINY,
            "--config.data_memory_gib=0",
            f"--config.num_steps={num_steps}",
            f"--config.data_residency={residency}",
            f"--config.steps_together={together}",
            f"--workdir={tmp_path / name}",
            virtual_devices=2,
        )
        assert result.returncode == 0, result.stderr
        return metrics(tmp_path / name)

    host = steps("host", "host", 1)
    assert steps("device", "device", 1) == host
    steps("resumed", "host", 1, num_steps=20)
    steps("resumed", "device", 1)
    resumed, expected = (
        load_file(tmp_path / name / "features" / "model.safetensors")
        for name in ("resumed", "host")
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(resumed[name], value)
    several = steps("several", "device", 8)
    assert [row.keys() for row in several] == [row.keys() for row in host]
    for together, alone in zip(several, host, strict=True):  # sums in another order
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--config.dataset_weights=(1,2,3)"],
            "config.dataset_weights: 3 of them, expected one for each of 2 datasets",
        ),
        (["--config.dataset_weights=(1,0)"], "config.dataset_weights: (1, 0), expected a tuple of"),
        (
            ["--config.data_memory_gib=0.001"],
            "config.data_memory_gib: 0.001 is too small for blocks of ",
        ),
        (
            ["--config.loss=monte_carlo"],
            "config.loss: monte_carlo needs all returns in memory, expected config.data_memory_gib",
        ),
        (["--config.data_residency=disk"], "config.data_residency: 'disk', expected one of auto, "),
    ],
)
def test_bad_input(
    run: Callable, dataset: Path, other: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    data = [f"--config.dataset={dataset},{other}", *TINY, *changes]
    result = run("pvn.pretrain", *data, f"--workdir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert not (tmp_path / "run").exists()


def test_two_games_are_not_one_dataset(run: Callable, dataset: Path, tmp_path: Path) -> None:
    assert (
        run(
            "pvn.collect", "--game=Pong", "--num_steps=20", f"--dataset={tmp_path / 'd'}"
        ).returncode
        == 0
    )
    result = run(
        "pvn.pretrain",
        f"--config.dataset={dataset},{tmp_path / 'd'}",
        f"--workdir={tmp_path / 'r'}",
    )
    assert result.returncode == 1
    assert result.stderr == (
        f"error: dataset {tmp_path / 'd'}: its game is Pong, that of {dataset} is Breakout; "
        "expected the same\n"
    )
