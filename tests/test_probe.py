"""The command pvn.probe on real frames."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pvn
from pvn.features import Features, save_features

OWN = """
import numpy as np

class Bricks:
    def targets(self, rows):
        frames = np.asarray(rows.frame[:])
        return frames[:, 20:40].mean(axis=(1, 2)), np.ones(len(frames), bool)
"""


def _rows(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "probes.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained features of a small network, saved as a run saves them."""
    path = tmp_path_factory.mktemp("features")
    save_features(path, pvn.random_features(num_features=16, seed=1))
    return path


def test_a_row_is_replaced_by_the_same_probe_only(
    run: Callable, dataset: Path, features: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    common = ["pvn.probe", f"--dataset={dataset}", f"--workdir={tmp_path}", "--discount=0.9"]
    common += ["--max_rows=1000"]
    first = run(*common, f"--features={features}", f"--targets=value,{own}:Bricks")
    assert first.returncode == 0, first.stderr
    made = _rows(tmp_path)
    assert [row["target"] for row in made] == ["value", "Bricks"]
    metadata = json.loads((features / "features.json").read_text())
    for row in made:
        assert (row["game"], row["agent"], row["seed"]) == ("Breakout", "random_features", 0)
        assert row["low"] <= row["value"] <= row["high"]
        assert row["features"]["sha256"] == metadata["sha256"]
        assert len(row["dataset"]["fingerprint"]) == 64
        assert (row["details"]["num_features"], row["details"]["step"]) == (16, 0)
    assert made[0]["settings"] == {"discount": 0.9, "clip_rewards": True, "max_rows": 1000}
    assert made[1]["settings"].keys() == {"code", "max_rows"}
    assert "random_features: value probe R^2" in first.stderr

    # The same probe with its features in another folder replaces its row.
    moved = tmp_path / "moved"
    features.rename(moved)
    again = run(*common, f"--features={moved}")
    moved.rename(features)
    assert again.returncode == 0, again.stderr
    rows = _rows(tmp_path)
    assert [row["target"] for row in rows] == ["Bricks", "value"]
    assert rows[1] == made[0] | {"features": made[0]["features"] | {"path": str(moved)}}

    # Other settings or other features add rows.
    assert run(*common, f"--features={features}", "--noclip_rewards").returncode == 0
    assert run(*common, "--features=random", f"--like={features}").returncode == 0
    rows = _rows(tmp_path)
    assert len(rows) == 4
    assert len({row["features"]["sha256"] for row in rows}) == 2
    report = run("pvn.report", f"--inputs={tmp_path}", f"--workdir={tmp_path / 'report'}")
    assert report.returncode == 1
    assert report.stderr == (
        f"error: {tmp_path}/probes.jsonl:4: Breakout, random_features, seed 0, value, "
        f"discount 0.9, clip_rewards True, max_rows 1000 is at {tmp_path}/probes.jsonl:2 too, "
        "with other features; give one of them another name with --agent, or remove its line\n"
    )


def test_features_that_are_not_finite(run: Callable, dataset: Path, tmp_path: Path) -> None:
    whole = pvn.random_features(num_features=16)

    def spoilt(tree: dict) -> dict:
        return {k: spoilt(v) if isinstance(v, dict) else v * np.nan for k, v in tree.items()}

    params = spoilt({**whole.params})
    encoder = type("Encoder", (), {"apply": staticmethod(whole.apply)})
    save_features(tmp_path / "nan", Features(encoder, params, whole.metadata))
    done = run(
        "pvn.probe", f"--features={tmp_path / 'nan'}", f"--dataset={dataset}",
        f"--workdir={tmp_path}", "--discount=0.9",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: probe: the features of row ")
    assert done.stderr.endswith(" are not finite; did pretraining diverge?\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "probes.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--discount=1"], "error: --discount: 1.0, expected a number in [0, 1)"),
        (["--seed=-1"], "error: --seed: -1, expected a whole number, from 0 to 2147483647"),
        (["--seed=2147483648"], "error: --seed: 2147483648, expected a whole number, from 0 to"),
        (["--dataset=/nowhere"], "error: dataset /nowhere: does not exist"),
        (["--targets=x"], "error: target 'x': expected one of value, `path/to/file.py:Name`"),
        (["--targets="], "error: --targets=: expected one target or more, each once"),
        (["--targets=value,value"], "error: --targets=value,value: expected one target or more"),
        (["--features=/nowhere"], "error: features /nowhere: no features.json there"),
    ],
)
def test_bad_input(
    run: Callable, dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    common = ["--features=random", f"--dataset={dataset}", f"--workdir={tmp_path / 'probe'}"]
    result = run("pvn.probe", *common, *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message), result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "probe").exists()
