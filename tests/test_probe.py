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
    def targets(self, dataset, folder):
        (folder / "kept.txt").write_text("x")
        frames = np.asarray(dataset.rows.frame[:])
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


TARGETS = ("value", "reward", "action", "next_features")
METRICS = {
    ("value", "r2"), ("reward", "f1"), ("reward", "average_precision"), ("action", "macro_f1"),
    ("action", "accuracy"), ("next_features", "r2"), ("Bricks", "r2"), ("features", "srank"),
    ("features", "dead_units"), ("features", "effective_dimension"), ("features", "norm_mean"),
    ("features", "norm_max"),
}  # fmt: skip


def test_two_feature_sets_and_all_targets(
    run: Callable, dataset: Path, features: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    targets = ",".join([*TARGETS, f"{own}:Bricks"])
    common = ["pvn.probe", f"--dataset={dataset}", f"--workdir={tmp_path}", "--discount=0.9"]
    common += ["--max_rows=1000"]
    first = run(
        *common, f"--features={features},random", "--agent=one,other", f"--targets={targets}",
        "--set=action.max_states=70000",
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    made = _rows(tmp_path)
    metadata = json.loads((features / "features.json").read_text())
    for agent in ("one", "other"):
        found = {(row["target"], row["metric"]) for row in made if row["agent"] == agent}
        assert found == METRICS | ({("features", "cka")} if agent == "other" else set())
    assert len(made) == 2 * len(METRICS) + 1
    for row in made:
        assert (row["game"], row["seed"]) == ("Breakout", 0)
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["features"]["sha256"] == metadata["sha256"]) == (row["agent"] == "one")
        assert len(row["dataset"]["fingerprint"]) == 64
        assert (row["details"]["num_features"], row["details"]["step"]) == (16, 0)
        assert row["details"]["command"].startswith("python -m pvn.probe --dataset=")
    settings = {row["target"]: row["settings"] for row in made}
    assert settings["value"] == {"discount": 0.9, "clip_rewards": True, "max_rows": 1000}
    assert settings["action"] == {"policy": "", "max_states": 70000, "max_rows": 1000}
    assert settings["Bricks"].keys() == {"code", "max_rows"}
    assert "one: value probe R^2" in first.stderr
    assert "other: action probe macro f1" in first.stderr
    assert "one: srank" in first.stderr
    assert "CKA with one" in first.stderr
    assert (tmp_path / "targets" / "kept.txt").exists()

    # Features alone give the same rows, in their place. Files in another folder are the same.
    moved = tmp_path / "moved"
    features.rename(moved)
    again = run(*common, f"--features={moved}", "--agent=one", "--nodiagnostics")
    moved.rename(features)
    assert again.returncode == 0, again.stderr
    *others, replaced = _rows(tmp_path)
    assert others == made[1:]
    details = made[0]["details"] | {"command": replaced["details"]["command"]}
    same = made[0] | {"details": details}
    assert replaced == same | {"features": made[0]["features"] | {"path": str(moved)}}

    # Another setting adds a row.
    alike = [f"--features={features}", "--agent=one", "--nodiagnostics"]
    assert run(*common, *alike, "--noclip_rewards").returncode == 0
    assert len(_rows(tmp_path)) == len(made) + 1

    report = run("pvn.report", f"--inputs={tmp_path}", f"--workdir={tmp_path / 'report'}")
    assert report.returncode == 0, report.stderr

    # Several datasets are probed as one.
    second = tmp_path / "second"
    steps = ("--num_steps=500", "--num_envs=4", "--seed=1")
    assert run("pvn.collect", "--game=Breakout", f"--dataset={second}", *steps).returncode == 0
    both = run(*common, *alike, "--max_rows=3500", f"--dataset={dataset},{second}")
    assert both.returncode == 0, both.stderr
    last = _rows(tmp_path)[-1]
    assert last["dataset"]["path"] == f"{dataset},{second}"
    assert last["dataset"]["fingerprint"] != made[0]["dataset"]["fingerprint"]


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
    assert done.stderr.startswith(f"error: features {tmp_path / 'nan'}: the features of row ")
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
        (["--targets=x"], "error: target 'x': expected one of value, reward, action, "),
        (["--targets="], "error: --targets=: expected one target or more, each once"),
        (["--targets=value,value"], "error: --targets=value,value: expected one target or more"),
        (["--targets=a.py:X,b.py:X"], "error: --targets=a.py:X,b.py:X: a.py:X and b.py:X have the"),
        (["--targets=a.py:value"], "error: --targets=a.py:value: results of pvn's own have the"),
        (["--targets=a.py:features"], "error: --targets=a.py:features: results of pvn's own have"),
        (["--features=/nowhere"], "error: features /nowhere: no features.json there"),
        (["--agent=a,b"], "error: --agent=a,b: 2 names for 1 --features"),
        (["--like=x", "--features=y"], "error: --like=x: goes with --features=random, not with y"),
        (
            ["--set=action.policy=x"],
            "error: --set=action.policy=x: expected target.setting=value, ",
        ),
    ],
)
def test_bad_input(
    run: Callable, dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    common = ["--features=random", f"--dataset={dataset}", f"--workdir={tmp_path / 'probe'}"]
    done = run("pvn.probe", *common, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(message), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "probe").exists()


def test_a_probe_that_fails_leaves_no_part(
    run: Callable, dataset: Path, features: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "class Bad:\n    def targets(self, dataset, folder):\n        raise ValueError('stop')\n"
    )
    done = run(
        "pvn.probe", f"--features={features}", f"--dataset={dataset}", f"--workdir={tmp_path}",
        "--max_rows=500", "--discount=0.9", f"--targets=value,{tmp_path / 'own.py'}:Bad",
    )  # fmt: skip
    assert done.returncode == 1
    assert "stop" in done.stderr
    assert not (tmp_path / "probes.jsonl").exists()


def test_help_names_all_targets(run: Callable) -> None:
    said = run("pvn.probe", "--help").stdout
    assert all(name in said for name in (*TARGETS, "advantage", "ram"))


def test_two_features_of_one_name(
    run: Callable, dataset: Path, features: Path, tmp_path: Path
) -> None:
    arguments = [f"--features={features},random", f"--dataset={dataset}", f"--workdir={tmp_path}"]
    assert run("pvn.probe", *arguments).stderr == (
        f"error: --features={features},random: two are called random_features; give them "
        "different names with --agent=first,second\n"
    )
