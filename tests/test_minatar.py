"""A game of MinAtar, whose observations are [10, 10, C], through all commands."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pvn
from pvn.data.store import open_dataset
from pvn.errors import UserError
from pvn.types import ObservationSpec

GAME = "MinAtar/SpaceInvaders"
SHAPE = (10, 10, 6)
SMALL = ("--config.num_envs=4", "--config.num_steps=1200", "--config.learn_after=200")
PLAY = (*SMALL, "--config.eval_episodes=4", "--config.fqi.refit_every=500")


def _ok(run: Callable, *arguments: str) -> str:
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return str(result.stdout + result.stderr)


@pytest.fixture(scope="module")
def data(run: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("minatar") / "data"
    _ok(run, "pvn.collect", f"--game={GAME}", "--num_steps=5000", f"--dataset={path}")
    return path


@pytest.fixture(scope="module")
def pretrained(run: Callable, data: Path) -> Path:
    workdir = data.with_name("pvn")
    _ok(
        run, "pvn.pretrain", "--config=configs/pretrain_minatar.py", f"--config.dataset={data}",
        "--config.num_steps=20", "--config.log_every=10", "--config.num_tasks=6",
        "--config.num_features=8", f"--workdir={workdir}",
    )  # fmt: skip
    return workdir


def test_the_dataset(run: Callable, data: Path) -> None:
    found = open_dataset(data)
    assert found.attributes["frame_shape"] == list(SHAPE)
    assert found.rows.observation == ObservationSpec(SHAPE)
    assert found.rows.ram is None
    assert set(np.unique(found.rows.frame[:])) == {0, 1}
    assert "every checksum" in _ok(run, "pvn.dataset", "verify", str(data))
    assert f"game:        {GAME}, 4 actions" in _ok(run, "pvn.dataset", "info", str(data))
    picture = data.with_name("episode.gif")
    _ok(run, "pvn.dataset", "view", str(data), f"--output={picture}", "--max_frames=5")
    again = data.with_name("again")
    _ok(
        run, "pvn.collect", f"--game={GAME}", "--num_steps=5000", f"--dataset={again}",
        "--num_envs=3",
    )  # fmt: skip
    assert open_dataset(again).compute_fingerprint() == found.compute_fingerprint()


def test_features(pretrained: Path, data: Path, run: Callable) -> None:
    features = pvn.load_features(pretrained)
    observations = open_dataset(data).rows.frame[:7]
    assert features.observation_shape == SHAPE
    assert features(observations).shape == (7, 8)
    cumulants = features.successor.cumulants(observations)
    assert cumulants.shape == (7, 6)
    assert all(len(np.unique(task)) <= 2 for task in cumulants.T)  # indicators, standardised
    with pytest.raises(UserError, match=r"expected uint8 \[N, 10, 10, 6\]"):
        features(observations[..., :4])
    assert "fault" not in _ok(run, "pvn.features", "check", str(pretrained))
    assert "uint8 [N, 10, 10, 6]" in (pretrained / "features" / "README.md").read_text()


def test_data_in_device_memory_are_the_same(run: Callable, data: Path, pretrained: Path) -> None:
    device = data.with_name("device")
    _ok(
        run, "pvn.pretrain", "--config=configs/pretrain_minatar.py", f"--config.dataset={data}",
        "--config.num_steps=20", "--config.log_every=10", "--config.num_tasks=6",
        "--config.num_features=8", "--config.data_residency=device",
        "--config.data_memory_gib=0.0006", f"--workdir={device}",
    )  # fmt: skip
    host = data.with_name("host")
    _ok(
        run, "pvn.pretrain", "--config=configs/pretrain_minatar.py", f"--config.dataset={data}",
        "--config.num_steps=20", "--config.log_every=10", "--config.num_tasks=6",
        "--config.num_features=8", "--config.data_memory_gib=0.0006", f"--workdir={host}",
    )  # fmt: skip
    model = "features/model.safetensors"
    assert (device / model).read_bytes() == (host / model).read_bytes()
    assert (host / model).read_bytes() != (pretrained / model).read_bytes()


def test_agents_and_report(run: Callable, data: Path, pretrained: Path) -> None:
    place = data.with_name("evaluations")
    agents = {
        "pvn": [f"--features={pretrained}"],
        "random": ["--features=random", f"--game={GAME}"],
        "none": ["--features=none", f"--game={GAME}"],
        "dqn": [
            "--features=random", f"--game={GAME}", "--config=configs/evaluate_end_to_end.py",
            f"--save_dataset={place}/stream",
        ],
    }  # fmt: skip
    for name, flags in agents.items():
        _ok(run, "pvn.evaluate", *flags, *PLAY, f"--workdir={place}/{name}")
        assert (place / name / "videos" / "best.gif").is_file()
    stream = open_dataset(place / "stream")
    assert stream.rows.observation.shape == SHAPE
    assert len(stream.rows.action) == 1200
    learned = pvn.load_features(place / "dqn" / "policy")
    assert learned.metadata["encoder"] == "minatar"
    assert learned(stream.rows.frame[:3]).shape == (3, 256)
    _ok(
        run, "pvn.probe", f"--features={pretrained},random", f"--dataset={data}",
        "--targets=value,action,next_features", f"--workdir={place}/probe",
    )  # fmt: skip
    inputs = ",".join(f"{place}/{name}" for name in (*agents, "probe"))
    _ok(run, "pvn.report", f"--inputs={inputs}", f"--workdir={place}/report")
    page = (place / "report" / "report.md").read_text()
    assert GAME in page
    rows = [json.loads(x) for x in (place / "pvn" / "scores.jsonl").read_text().splitlines()]
    assert {row["game"] for row in rows} == {GAME}
    played = place / "played"
    _ok(
        run, "pvn.collect", f"--game={GAME}", f"--policy={place}/dqn", "--num_steps=300",
        f"--dataset={played}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["pvn.collect", f"--game={GAME}", "--ram", "--dataset={tmp}/d"],
            f"error: --ram: {GAME} has no RAM; leave the flag out",
        ),
        (
            ["pvn.evaluate", "--features={pretrained}", "--game=Pong", "--workdir={tmp}/e"],
            "error: features {pretrained}: are of observations [10, 10, 6]; those of Pong are "
            "[84, 84, 4]",
        ),
        (
            ["pvn.probe", "--features={pretrained}", "--dataset={data}", "--targets=advantage",
             "--workdir={tmp}/p"],
            f"error: dataset {{data}}: is of {GAME}, expected a game of the Atari 2600",
        ),
    ],
)  # fmt: skip
def test_bad_input(
    run: Callable, pretrained: Path, data: Path, tmp_path: Path, arguments: list[str], line: str
) -> None:
    names = {"pretrained": pretrained, "data": data, "tmp": tmp_path}
    result = run(*(argument.format(**names) for argument in arguments))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(line.format(**names))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
