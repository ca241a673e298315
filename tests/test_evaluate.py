"""Runs the commands pvn.probe and pvn.evaluate on features of a real pretraining run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pvn.storage.files import sha256
from tests.datasets import read_dataset

ROOT = Path(__file__).parents[1]

TINY = [
    "--config.num_envs=4",
    "--config.num_steps=1200",
    "--config.learn_after=200",
    "--config.fqi.refit_every=400",
    "--config.fqi.sweeps=2",
    "--config.eval_episodes=6",
    "--config.eval_epsilon=0.2",
    "--config.videos=False",
]


@pytest.fixture(scope="session")
def run_script(compilations: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """run_script(source, "--features=...", ...): a user's own script that runs the command."""
    script = tmp_path_factory.mktemp("script") / "script.py"

    def command(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        script.write_text(source)
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=ROOT,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(compilations)},
            capture_output=True,
            text=True,
            check=False,
        )

    return command


def _pretrain(run: Callable, dataset: Path, workdir: Path, *more: str) -> Path:
    result = run(
        "pvn.pretrain",
        f"--config.dataset={dataset}",
        f"--workdir={workdir}",
        "--config.num_features=64",
        "--config.num_tasks=4",
        "--config.num_steps=10",
        "--config.batch_size=8",
        "--config.feature_norm=none",  # with a norm, one broken unit would break all
        *more,
    )
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.fixture(scope="module")
def features(run: Callable, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of Atari's Breakout."""
    return _pretrain(run, dataset, tmp_path_factory.mktemp("evaluate") / "run")


@pytest.fixture(scope="module")
def small(run: Callable, minatar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of MinAtar's Breakout, for tests to which the game is all the same."""
    workdir = tmp_path_factory.mktemp("evaluate") / "small"
    return _pretrain(run, minatar, workdir, "--config.encoder=minatar")


def _rows(workdir: Path, name: str = "scores.jsonl") -> list[dict]:
    return [json.loads(line) for line in (workdir / name).read_text().splitlines()]


def test_successor_heads_play(run: Callable, small: Path, minatar: Path, tmp_path: Path) -> None:
    arguments = [f"--features={small}", *TINY, f"--dataset={minatar}", f"--workdir={tmp_path}"]
    arguments += ["--config.head=successor", "--config.num_labels=(500,2000)"]
    wrong = run("pvn.evaluate", *arguments)
    assert wrong.returncode == 1
    assert wrong.stderr == "error: config.n_step: 5, expected 1 with config.head=successor\n"
    assert not any(tmp_path.iterdir())
    result = run("pvn.evaluate", *arguments, "--config.n_step=1")
    assert result.returncode == 0, result.stderr
    assert [row["step"] for row in _rows(tmp_path, "metrics.jsonl")] == [500, 2000]
    assert all(row["reward_r2"] < 1 for row in _rows(tmp_path, "metrics.jsonl"))
    assert {row["head"] for row in _rows(tmp_path)} == {"successor"}


def test_labels_without_a_known_step_are_refused(
    run: Callable, small: Path, minatar: Path, tmp_path: Path
) -> None:
    """The first of two datasets gives one row each: no next state is known."""
    copy = shutil.copytree(minatar, tmp_path / "copy")
    run("pvn.collect", "--game=MinAtar/Breakout", f"--dataset={copy}", "--num_steps=3001")
    result = run(
        "pvn.evaluate", f"--features={small}", *TINY, f"--dataset={minatar},{copy}",
        f"--workdir={tmp_path / 'eval'}", "--config.head=dqn", "--config.num_labels=(2,)",
        "--config.learn_after=1", "--config.n_step=1", "--config.dqn.update_every=1",
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == (
        "error: config.num_labels: 2, expected more: none of the first 2 rows of --dataset begins "
        "1 known steps\n"
    )


def test_scores_and_policy(run: Callable, features: Path, tmp_path: Path) -> None:
    arguments = ["pvn.evaluate", f"--features={features}", *TINY]
    result = run(*arguments, f"--workdir={tmp_path / 'a'}")
    assert result.returncode == 0, result.stderr
    rows = _rows(tmp_path / "a")
    assert set(rows[0]) == {
        "game",
        "agent",
        "head",
        "seed",
        "phase",
        "agent_step",
        "episode_return",
        "length",
    }
    assert {(r["game"], r["agent"], r["head"]) for r in rows} == {("Breakout", "pvn", "fqi")}
    assert sum(r["phase"] == "eval" for r in rows) == 6
    assert all(r["agent_step"] <= 1200 for r in rows)
    # Fits: at learn_after, at each multiple of refit_every, and at the end.
    fits = [row["step"] for row in _rows(tmp_path / "a", "metrics.jsonl")]
    assert fits == [200, 400, 800, 1200]

    again = run(*arguments, f"--workdir={tmp_path / 'a'}")  # is not repeated
    assert again.returncode == 0
    assert "complete, mean episode return" in again.stderr
    assert _rows(tmp_path / "a") == rows

    # Its policy can play.
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
        "random": ["--features=random", f"--like={features}"],
        "none": ["--features=none", "--game=Breakout"],
    }.items():
        result = run("pvn.evaluate", f"--workdir={tmp_path / name}", *TINY, *more)
        assert result.returncode == 0, result.stderr
    assert {r["agent"] for r in _rows(tmp_path / "none")} == {"random_policy"}
    assert all(r["phase"] == "eval" for r in _rows(tmp_path / "none"))
    assert {r["agent"] for r in _rows(tmp_path / "random")} == {"random_features"}
    probe = ["pvn.probe", f"--dataset={dataset}", f"--workdir={tmp_path / 'probe'}"]
    probe.append("--nodiagnostics")
    both = [f"--features={features},random", "--discount=0.9", "--nodiagnostics"]
    result = run(*probe, *both)
    assert result.returncode == 0, result.stderr
    rows = _rows(tmp_path / "probe", "probes.jsonl")
    assert [r["agent"] for r in rows] == ["pvn", "random_features"]
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["details"]["num_features"] == 64
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
        "--game=Breakout",
        f"--workdir={tmp_path}",
        "--config.eval_episodes=30",
        "--config.num_envs=10",
    )
    assert result.returncode == 0, result.stderr
    # The literature reports 1.2 to 1.7. The standard error here is 0.24.
    assert 0.7 < np.mean([r["episode_return"] for r in _rows(tmp_path)]) < 2.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features=/nowhere"], "error: features /nowhere: no features.json there"),
        (["--features=none"], "error: --game: is missing, expected a game"),
        (["--features=random"], "error: --game: is missing, expected a game"),
        (
            ["--features=none", "--game=Pnog"],
            "error: unknown game 'Pnog'; did you mean Pong",
        ),
        (
            ["--features=random", "--game=Pong", "--config.num_steps=1000"],
            "error: config.num_steps: 1000 ends before anything is learned, expected at least",
        ),
        (
            [
                *("--features=random", "--game=Pong", "--config.num_steps=1000000000000"),
                "--config.replay_capacity=1000000000000",
            ],
            "error: config.replay_capacity: to learn from a replay of 1,000,000,000,000 int",
        ),
        (["--features=none", "--config.head=dueling"], "error: config.head: 'dueling', expected"),
        (
            ["--features=random", "--game=Pong", "--config.dqn.encoder_learning_rate=1e-4"],
            "error: config.dqn.encoder_learning_rate: 0.0001, expected 0 with config.head=fqi, whi",
        ),
        (
            ["--features=none", "--game=Pong", "--save_dataset=x"],
            "error: --save_dataset: goes with learning from interaction, not with --features=none",
        ),
        (
            ["--features=none", "--game=Pong", "--config.discount=1.0"],
            "error: config.discount: 1.0, expected a number in [0, 1)",
        ),
        (
            ["--features=none", "--config.dqn.learning_rate=-1.0"],
            "error: config.dqn.learning_rate: -1.0, expected a number in (0, inf)",
        ),
        (
            ["--features=/nowhere", "--like=/elsewhere"],
            "error: --like=/elsewhere: goes with --features=random, not with /nowhere",
        ),
        (
            ["--features=none", "--game=Pong", "--like=/elsewhere"],
            "error: --like=/elsewhere: goes with --features=random, not with none",
        ),
        (
            ["--features=none", "--game=Pong", "--agent=we\tird"],
            "error: --agent='we\\tird': expected a name of printable characters",
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
    result = run(*arguments, f"--features={features}", "--game=Pong")
    assert result.returncode == 1
    assert "were learned with 4 actions on Breakout; Pong has 6" in result.stderr
    other = tmp_path / "features"
    shutil.copytree(features / "features", other)
    metadata = json.loads((other / "features.json").read_text())
    metadata["protocol"]["frameskip"] = 2
    (other / "features.json").write_text(json.dumps(metadata))
    result = run(*arguments, f"--features={other}")
    assert result.returncode == 1
    assert "were learned from other observations: frameskip 2, here 4" in result.stderr
    assert not (tmp_path / "eval").exists()


def broken_features(features: Path, copy: Path, bias: float) -> Path:
    """A copy of the features whose last layer adds `bias` to the first three."""
    shutil.copytree(features / "features", copy)
    params = dict(load_file(copy / "model.safetensors"))
    params["Dense_0.bias"][:3] = bias
    save_file(params, copy / "model.safetensors")
    metadata = json.loads((copy / "features.json").read_text())
    metadata["sha256"] = sha256(copy / "model.safetensors")
    (copy / "features.json").write_text(json.dumps(metadata))
    return copy


@pytest.mark.parametrize(
    ("head", "bias", "more", "message"),
    [
        ("fqi", np.nan, [], "features: 3 of 64 are not finite (NaN or infinity) for the"),
        ("fqi", 1e25, [], "fqi: features are as large as 1e+25, so that their squares overflow;"),
        ("dqn", 0, ["--config.dqn.learning_rate=1e30"], "dqn: the head diverged: its loss, grad"),
    ],
)
def test_a_head_that_diverged_is_not_played_or_reported(
    run: Callable,
    small: Path,
    tmp_path: Path,
    head: str,
    bias: float,
    more: list[str],
    message: str,
) -> None:
    broken = broken_features(small, tmp_path / "features", bias)
    workdir = tmp_path / "eval"
    arguments = [f"--features={broken}", f"--workdir={workdir}", f"--config.head={head}", *more]
    result = run("pvn.evaluate", *TINY, *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1
    assert not (workdir / "policy").exists()
    assert not (workdir / "scores.jsonl").exists()
    assert not (workdir / "summary.json").exists()
    rows = (workdir / "scores.jsonl.partial").read_text().splitlines()
    assert not any(json.loads(row)["phase"] == "eval" for row in rows)
    for row in _rows(workdir, "metrics.jsonl"):
        assert all(np.isfinite(list(row.values())))


def test_moved_features_are_the_same_and_others_are_not(
    run: Callable, small: Path, tmp_path: Path
) -> None:
    copy = broken_features(small, tmp_path / "copy", 0.5)
    arguments = ["pvn.evaluate", f"--workdir={tmp_path / 'eval'}", *TINY]
    assert run(*arguments, f"--features={copy}").returncode == 0
    copy.rename(tmp_path / "moved")
    moved = run(*arguments, f"--features={tmp_path}/moved/")
    assert moved.returncode == 0, moved.stderr
    assert "complete, mean episode return" in moved.stderr
    config = json.loads((tmp_path / "eval" / "config.json").read_text())
    assert config["features"] == f"{tmp_path}/moved"
    other = run(*arguments, f"--features={small}")
    assert other.returncode == 1
    assert "holds a run with another config: features_sha256" in other.stderr


def test_untrained_features_are_known_by_their_architecture(
    run: Callable, small: Path, tmp_path: Path
) -> None:
    """Not by the path of --like, which may move."""
    like = Path(shutil.copytree(small, tmp_path / "like"))
    arguments = ["pvn.evaluate", f"--workdir={tmp_path / 'eval'}", "--features=random", *TINY]
    assert run(*arguments, f"--like={like}").returncode == 0
    moved = run(*arguments, f"--like={like.rename(tmp_path / 'moved')}")
    assert moved.returncode == 0, moved.stderr
    assert "complete, mean episode return" in moved.stderr
    other = run(*arguments, "--game=MinAtar/Breakout")
    assert other.returncode == 1
    assert "holds a run with another config: architecture." in other.stderr

    late = run(*arguments, f"--like={tmp_path}/moved", f"--save_dataset={tmp_path}/kept")
    assert late.returncode == 1
    assert late.stderr == (
        f"error: --save_dataset={tmp_path}/kept: the agent has learned already, and what it played "
        "was not kept; name another --workdir, or pass --overwrite\n"
    )


OWN_LEARNER = """
from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np

from pvn.runs import console
from pvn.evaluation import registry
from pvn.evaluation.linear import LinearLearner
from pvn.fields import whole


class AlwaysSettings(NamedTuple):
    action: Annotated[int, whole(0)] = 2


class AlwaysLearner(LinearLearner):
    diverged_fits = 0

    def __init__(self, context, settings):
        super().__init__(context, refit_every=100)
        self.head = self.head._replace(bias=self.head.bias.at[settings.action].set(1))
        self.num_fits = 0

    def _fit(self, replay):
        self.num_fits += 1
        return {"fits": self.num_fits}

    def state(self):
        return {"num_fits": np.array(self.num_fits)}

    def restore(self, state):
        self.num_fits = int(state["num_fits"])


registry.SECTIONS["always"] = AlwaysSettings  # the second file
registry.LEARNERS["always"] = registry.Entry(("always",), AlwaysLearner)

from pvn import evaluate

console.run(evaluate.main)
"""

OWN_CONFIG = """
import ml_collections
from configs import evaluate


def get_config():
    config = evaluate.get_config()
    config.head = "always"
    config.always = ml_collections.ConfigDict({"action": 1})
    return config
"""


def test_a_new_learner_with_a_setting_touches_two_files(
    run_script: Callable, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.py").write_text(OWN_CONFIG)

    # Without a section in the config, the learner has its default settings.
    default = run_script(
        OWN_LEARNER, f"--features={small}", f"--workdir={tmp_path / 'default'}", *TINY,
        "--config.head=always", "--config.eval_episodes=1",
    )  # fmt: skip
    assert default.returncode == 0, default.stderr
    config = json.loads((tmp_path / "default" / "config.json").read_text())
    assert config["always"] == {"action": 2}
    own = [f"--config={tmp_path / 'config.py'}", f"--features={small}"]
    own += [f"--workdir={tmp_path / 'own'}", *TINY]
    result = run_script(OWN_LEARNER, *own, "--config.always.action=0")
    assert result.returncode == 0, result.stderr
    assert {row["head"] for row in _rows(tmp_path / "own")} == {"always"}
    assert _rows(tmp_path / "own", "metrics.jsonl")[-1] == {"step": 1200, "fits": 11}
    head = load_file(tmp_path / "own" / "policy" / "head.safetensors")
    assert head["0.bias"].tolist() == [1, 0, 0]
    wrong = run_script(OWN_LEARNER, *own, "--config.always.action=-2")
    assert wrong.returncode == 1
    assert wrong.stderr == ("error: config.always.action: -2, expected a whole number, 0 or more\n")


COUNTED = """
import atexit

from pvn.runs import console
from pvn import evaluate
from pvn.evaluation import acting, q_learning

traces = {"q_losses": 0, "act": 0}


def count(name, function):
    def counted(*arguments, **more):
        traces[name] += 1
        return function(*arguments, **more)

    return counted


q_learning.q_losses = count("q_losses", q_learning.q_losses)
acting.outputs = count("act", acting.outputs)
atexit.register(lambda: print(traces))
console.run(evaluate.main)
"""


def test_one_update_and_one_act_are_traced_once(
    run_script: Callable, small: Path, tmp_path: Path
) -> None:
    arguments = [f"--features={small}", f"--workdir={tmp_path / 'eval'}", "--config.head=dqn"]
    result = run_script(COUNTED, *arguments, *TINY, "--config.videos=True")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "{'q_losses': 1, 'act': 1}\n"
    assert {file.name for file in (tmp_path / "eval" / "videos").iterdir()} == {
        "best.gif", "median.gif",
    }  # fmt: skip


def test_agents_can_be_named(run: Callable, tmp_path: Path) -> None:
    result = run(
        "pvn.evaluate", "--features=none", "--game=MinAtar/Breakout", f"--workdir={tmp_path}",
        "--config.eval_episodes=2", "--config.num_envs=2", "--agent=mine",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {row["agent"] for row in _rows(tmp_path)} == {"mine"}


def test_end_to_end_saves_features_and_a_dataset_from_which_others_learn(
    run: Callable, tmp_path: Path
) -> None:
    agent, data, labels = (tmp_path / name for name in ("agent", "data", "labels"))
    fewer = ["--config.eval_episodes=2"]
    result = run(
        "pvn.evaluate", "--features=random", "--game=MinAtar/Breakout", *TINY, "--config.head=dqn",
        "--config.dqn.encoder_learning_rate=1e-4", "--config.num_steps=800", *fewer,
        "--config.dqn.update_every=8",
        "--config.dqn.priority_exponent=0.5", f"--save_dataset={data}", f"--workdir={agent}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = _rows(agent)
    assert {row["agent"] for row in rows} == {"end_to_end"}
    trained = [row for row in rows if row["phase"] == "train"]
    dataset = read_dataset(data)
    assert len(dataset.rows.action) == 800
    assert dataset.rows.reward[dataset.rows.episode == 0].sum() == trained[0]["episode_return"]
    assert dataset.attributes["source"]["kind"] == "pvn.evaluate"

    # Another run does not write over it.
    other = run(
        "pvn.evaluate", "--features=random", "--game=MinAtar/Breakout", *TINY,
        f"--save_dataset={data}", "--agent=end_to_end", f"--workdir={tmp_path / 'other'}",
    )  # fmt: skip
    assert other.returncode == 1
    assert other.stderr == (
        f"error: --save_dataset={data}: holds a dataset of another run, expected a path where "
        "there is none\n"
    )
    assert not (tmp_path / "other").exists()
    assert read_dataset(data).compute_fingerprint() == dataset.compute_fingerprint()

    # Its features, frozen; the labels are those of its dataset.
    arguments = [
        "pvn.evaluate", f"--features={agent}/policy", *TINY, f"--dataset={data}",
        f"--workdir={labels}", "--config.learn_after=1000", *fewer,  # of interaction only
    ]  # fmt: skip
    result = run(*arguments, "--config.num_labels=(400,700)")
    assert result.returncode == 0, result.stderr
    rows = _rows(labels)
    assert {row["agent"] for row in rows} == {"end_to_end_features"}
    assert [row["agent_step"] for row in rows] == [400] * 2 + [700] * 2
    assert {row["phase"] for row in rows} == {"eval"}
    few = run(*arguments, "--config.num_labels=(400,801)", "--overwrite")
    assert few.returncode == 1
    assert "config.num_labels: (400, 801), expected ascending numbers of at most 800" in few.stderr
    assert _rows(labels) == rows
