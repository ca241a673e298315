"""The parts of training that a config names."""

from pathlib import Path

import jax
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.indicators.tasks import Tasks
from pvn.pretraining.residency import frames_on_device
from pvn.pretraining.training import initial_params, steps_together
from tests.experiments import experiment


def test_heads_begin_at_their_fixed_points(dataset: Path) -> None:
    """The three tasks are on in 1, 2 and 4 of 4 states; the discounts are 0.5, 0.9 and 0.5."""
    small = {"num_features": 8, "num_tasks": 3}
    e = experiment(dataset, **small, heads_bias="fixed_point", discount=(0.5, 0.9))
    sample = np.float32([[1, 1, 1], [-1, 1, 1], [-1, -1, 1], [-1, -1, 1]])
    tasks = Tasks(e.indicator, (), np.zeros(3, np.float32), sample, sample)
    params = initial_params(e, jax.random.key(0), tasks)
    expected = np.repeat(np.float32([[0.5, 5, 2]]), 4, axis=0)
    np.testing.assert_allclose(params["heads"]["bias"], expected, rtol=1e-6)
    plain = initial_params(experiment(dataset, **small, discount=0.5), jax.random.key(0), tasks)
    assert not np.asarray(plain["heads"]["bias"]).any()
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], plain["encoder"])


@pytest.mark.parametrize(
    ("fields", "start", "together"),
    [
        ({}, 0, 1),  # a CPU
        ({"steps_together": 16}, 0, 10),  # divides 250, 2,500 and 4,500
        ({"steps_together": 16, "log_every": 90}, 0, 10),
        ({"steps_together": 16, "log_every": 7}, 0, 1),
        ({"steps_together": 16}, 1005, 5),
        ({"steps_together": 5}, 0, 5),
        ({"steps_together": 16, "data_memory_gib": 0.0105}, 0, 10),
        ({"steps_together": 16, "data_memory_gib": 0.0105, "data_residency": "device"}, 0, 1),
    ],
)
def test_steps_together(dataset: Path, fields: dict, start: int, together: int) -> None:
    assert steps_together(experiment(dataset, **fields), start) == together


def test_the_encoder_learns_after_the_warmup(dataset: Path) -> None:
    learned = {"random_network": {"threshold_from": "quantile_regression"}, "num_steps": 8}
    experiment(dataset, **learned, warmup_steps=7)
    line = "^config.warmup_steps: 8, expected less than num_steps, 8: the encoder learns after them"
    with pytest.raises(UserError, match=line):
        experiment(dataset, **learned, warmup_steps=8)


def test_data_in_device_memory_need_not_fit_on_the_host(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pvn.pretraining.experiment.frames_on_device", lambda *_, **__: True)
    monkeypatch.setattr("pvn.pretraining.experiment.memory_of_device", lambda _: 2**30)
    monkeypatch.setattr("pvn.pretraining.experiment.usable_memory", lambda: 2**20)
    counted = []  # it waits for all processes, so no process may leave it out
    monkeypatch.setattr("pvn.pretraining.experiment.processes_here", lambda: counted.append(1) or 1)
    assert experiment(dataset).on_device
    assert len(counted) == 1


def test_processes_of_a_machine_share_its_memory(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 frames take 20 MiB."""
    monkeypatch.setattr("pvn.pretraining.experiment.usable_memory", lambda: 30 * 2**20)
    experiment(dataset)
    monkeypatch.setattr("pvn.pretraining.experiment.processes_here", lambda: 2)
    with pytest.raises(UserError, match=r"in memory, 0\.0199 GiB, and a process may use 0\.0146;"):
        experiment(dataset)


def test_where_the_frames_are() -> None:
    def found(residency: str, platform: str, memory: int, limited: bool = False) -> bool:
        return frames_on_device(
            residency, platform, frame_bytes=100, memory=memory, limited=limited
        )

    assert found("auto", "gpu", 200)
    assert not found("auto", "gpu", 199)
    assert not found("auto", "gpu", 200, limited=True)
    assert not found("auto", "cpu", 200)
    assert found("device", "cpu", 0)
    assert not found("host", "gpu", 200)
