"""Pretraining through its command line: outputs, exact resumption after real kills, bad input."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from safetensors.numpy import load_file

import pvn
from tests.datasets import read_dataset
from tests.files import contents, flip, metrics

WORKDIR_FILES = {
    "checkpoints", "config.json", "features", "metrics.jsonl", "responses", "run.json",
    "tensorboard",
}  # fmt: skip
TINY = [
    "--config.num_features=64",
    "--config.num_tasks=6",
    "--config.batch_size=8",
    "--config.log_every=10",
    "--config.checkpoint_every=20",
]


def _on_atari(dataset: Path, workdir: Path, *more: str) -> list[str]:
    return ["pvn.pretrain", f"--config.dataset={dataset}", f"--workdir={workdir}", *TINY, *more]


def _arguments(minatar: Path, workdir: Path, *more: str) -> list[str]:
    return _on_atari(minatar, workdir, "--config.encoder=minatar", *more)


@pytest.fixture(scope="module")
def whole(run: Callable, minatar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 steps without interruption."""
    workdir = tmp_path_factory.mktemp("pretrain") / "whole"
    result = run(*_arguments(minatar, workdir, "--config.num_steps=60"))
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.fixture(scope="module")
def on_atari(run: Callable, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 steps on Atari without interruption."""
    workdir = tmp_path_factory.mktemp("pretrain") / "atari"
    result = run(*_on_atari(dataset, workdir, "--config.num_steps=60"))
    assert result.returncode == 0, result.stderr
    *warnings, last = result.stderr.splitlines()
    assert last == f"{workdir}: 60 steps; features in {workdir / 'features'}"
    assert all("units are dead" in line for line in warnings)
    return workdir


def test_what_a_run_leaves(on_atari: Path, dataset: Path) -> None:
    assert {path.name for path in on_atari.iterdir()} == WORKDIR_FILES
    assert json.loads((on_atari / "config.json").read_text())["num_features"] == 64
    story = json.loads((on_atari / "run.json").read_text())
    assert story["versions"]["jax"]
    assert any("pretrain" in word for word in story["command"])
    rows = [json.loads(line) for line in (on_atari / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(10, 61, 10))
    assert set(rows[-1]) == {
        "step",
        "loss",
        "threshold_loss",
        "gradient_norm",
        "mean_prediction",
        "activation_mean",
        "activation_std",
        "dead_tasks",
        "explained_variance",
        "feature_rank",
        "dead_units",
        "steps_per_second",
        "transitions_per_second",
        "data_wait_share",
    }
    # At most p, 0.2: a unit that has one value in most states can only be on in fewer.
    assert 0.1 < rows[-1]["activation_mean"] < 0.21
    assert rows[-1]["loss"] > 0
    # The encoder is not dead and has learned, so the comparisons below mean something.
    assert rows[-1]["feature_rank"] > 1
    assert rows[-1]["explained_variance"] > rows[0]["explained_variance"] > -1
    assert list((on_atari / "tensorboard").glob("events.*"))
    features = pvn.load_features(on_atari)
    assert features.metadata["step"] == 60
    assert features.metadata["game"] == "Breakout"
    assert features(np.zeros((3, 84, 84, 4), np.uint8)).shape == (3, 64)
    assert "load_features" in (on_atari / "features" / "README.md").read_text()


def _assert_same(workdir: Path, whole: Path) -> None:
    assert metrics(workdir) == metrics(whole)
    first, second = (load_file(w / "features" / "model.safetensors") for w in (workdir, whole))
    for name, value in second.items():
        np.testing.assert_array_equal(first[name], value)
    # All arrays of the checkpoints are equal, the optimiser state and target network too.
    files = [w / "checkpoints" / "step_0000000060" / "state.npz" for w in (workdir, whole)]
    states = [dict(np.load(file)) for file in files]
    assert states[0].keys() == states[1].keys()
    assert "target_params/encoder/Dense_0/kernel" in states[0]
    for name, value in states[1].items():
        np.testing.assert_array_equal(states[0][name], value)


def test_stopped_and_resumed_is_bit_for_bit_the_same(
    run: Callable,
    start: Callable,
    dataset: Path,
    on_atari: Path,
    tmp_path: Path,
) -> None:
    workdir = tmp_path / "killed"
    arguments = _on_atari(dataset, workdir, "--config.num_steps=60")
    process = start(*arguments)
    while process.poll() is None:
        time.sleep(0.005)
        # After the first checkpoint, and between two.
        file = workdir / "metrics.jsonl"
        if file.is_file() and len(file.read_text().splitlines()) >= 3:
            process.terminate()
            break
    _, stderr = process.communicate()
    assert process.returncode == 143
    assert not (workdir / "checkpoints" / "step_0000000060").exists()
    assert "stopped and saved at step" in stderr
    assert pvn.load_features(workdir).metadata["step"] < 60
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    _assert_same(workdir, on_atari)


def test_a_finished_run_is_left_alone_and_can_be_extended(
    run: Callable, minatar: Path, whole: Path, tmp_path: Path
) -> None:
    workdir, moved = tmp_path / "extended", tmp_path / "moved"
    assert run(*_arguments(minatar, workdir, "--config.num_steps=30")).returncode == 0
    shutil.rmtree(workdir / "features")  # as after a kill: they are written again
    checkpoints = workdir / "checkpoints"
    before = contents(checkpoints)
    again = run(*_arguments(minatar, workdir, "--config.num_steps=30"))
    assert again.returncode == 0
    assert "complete at step 30" in again.stderr
    assert pvn.load_features(workdir).metadata["step"] == 30
    assert contents(checkpoints) == before
    shutil.copytree(minatar, moved)  # moved data are the same data
    assert run(*_arguments(moved, workdir, "--config.num_steps=60")).returncode == 0
    assert pvn.load_features(workdir).metadata["dataset"]["path"] == str(moved)
    assert metrics(workdir) == metrics(whole)


@pytest.mark.parametrize(
    "changes",
    [
        [
            *("--config.indicator=random_hash", "--config.responses=in_step"),
            "--config.target_policy=behaviour",
        ],
        [
            *("--config.indicator=random_cumulant", "--config.loss=monte_carlo"),
            *("--config.encoder=impala", "--config.dtype=bfloat16", "--config.optimizer=rmsprop"),
        ],
        [
            *("--config.indicator=local_network", "--config.local_network.tasks_per_network=6"),
            *("--config.cumulants=standardised", "--config.discount=0.9,0.5,0"),
            "--config.next_states=shuffled",
            *("--config.feature_norm=layer_norm", "--config.feature_activation=tanh"),
        ],
        ["--config.target_policy=greedy", "--config.target_update=periodic"],
        ["--config.loss=inverse_dynamics", "--config.cumulants=standardised"],
        [
            "--config.target_update=periodic",
            *("--config.indicator=random_network", "--config.random_network.final_relu"),
            "--config.responses=in_step",
        ],
    ],
)
def test_options_run(run: Callable, minatar: Path, tmp_path: Path, changes: list[str]) -> None:
    result = run(*_arguments(minatar, tmp_path / "run", "--config.num_steps=10", *changes))
    assert result.returncode == 0, result.stderr
    assert np.isfinite(metrics(tmp_path / "run")[0]["loss"])


def test_changes_of_units_run(run: Callable, dataset: Path, tmp_path: Path) -> None:
    """They need an observation of two frames, which MinAtar does not have."""
    changes = (
        *("--config.indicator=local_network", "--config.local_network.change"),
        *("--config.loss=monte_carlo", "--config.discount=0.9,0.5"),
        *("--config.heads_bias=fixed_point", "--config.cumulants=raw"),
    )
    result = run(*_on_atari(dataset, tmp_path / "run", "--config.num_steps=10", *changes))
    assert result.returncode == 0, result.stderr
    assert np.isfinite(metrics(tmp_path / "run")[0]["loss"])


def test_the_most_controllable_candidates(run: Callable, minatar: Path, tmp_path: Path) -> None:
    """The choice is made once; made again after damage, or without a cache, it is the same."""
    changes = (
        *("--config.indicator=local_network", "--config.local_network.tasks_per_network=40"),
        *("--config.candidates_per_task=10", "--config.cumulants=standardised"),
    )

    def pretrained(name: str, steps: int, *more: str) -> tuple[str, dict[str, np.ndarray]]:
        result = run(
            *_arguments(minatar, tmp_path / name, f"--config.num_steps={steps}", *changes, *more)
        )
        assert result.returncode == 0, result.stderr
        return result.stderr, load_file(tmp_path / name / "features" / "successor.safetensors")

    stderr, whole = pretrained("whole", 20)
    assert "tasks: 6 of 60 candidates, of controllability " in stderr
    assert len(set(whole["frozen.kept"].tolist())) == 6
    pretrained("resumed", 10)
    (tmp_path / "resumed" / "responses" / "kept.npz").write_bytes(b"damaged")
    assert "candidates" in pretrained("resumed", 15)[0]
    stderr, resumed = pretrained("resumed", 20)
    assert "candidates" not in stderr
    _, in_step = pretrained("in_step", 20, "--config.responses=in_step")
    for name, tensor in whole.items():
        np.testing.assert_array_equal(tensor, resumed[name])
    np.testing.assert_array_equal(whole["frozen.kept"], in_step["frozen.kept"])
    assert whole["frozen.kept"].tolist() != list(range(6))  # as before the choice
    successor = pvn.load_features(tmp_path / "whole").successor
    assert successor.task.candidates_per_task == 10
    on = successor.cumulants(read_dataset(minatar).rows.frame) > 0
    assert (on.any(axis=0) & ~on.all(axis=0)).all()
    place = {"driver": "file", "path": str(tmp_path / "whole" / "responses")}
    bits = ts.open({"driver": "zarr3", "kvstore": place}, open=True).result().read().result()
    np.testing.assert_array_equal(np.packbits(on, axis=1), bits)  # what it was trained on


def test_quantile_regression_reaches_the_proportion(
    run: Callable, dataset: Path, tmp_path: Path
) -> None:
    result = run(
        *_on_atari(
            dataset,
            tmp_path / "run",
            "--config.num_steps=1501",
            "--config.warmup_steps=1500",
            "--config.threshold_learning_rate=2e-4",
            *("--config.indicator=random_network", "--config.cumulants=raw"),
            "--config.random_network.threshold_from=quantile_regression",
            "--config.num_tasks=30",
            "--config.random_network.tasks_per_network=30",
            "--config.batch_size=32",
            "--config.checkpoint_every=4000",
            "--config.log_every=500",
        )
    )
    assert result.returncode == 0, result.stderr
    assert metrics(tmp_path / "run")[-1]["activation_mean"] == pytest.approx(0.05, rel=0.1)


def test_a_persons_own_encoder(run: Callable, minatar: Path, tmp_path: Path) -> None:
    """Of Haiku. (Encoders of Flax too: tests/networks/test_encoders.py, tests/test_features.py.)"""
    file, workdir = tmp_path / "mine.py", tmp_path / "run"
    file.write_text("""
import haiku as hk

def Own(width, num_features, dtype):
    def forward(x):
        x = x[:, ::2, ::2].astype(dtype)
        return hk.nets.MLP([width, num_features])(x.reshape(x.shape[0], -1))
    return hk.transform(forward)
""")
    result = run(
        *_arguments(minatar, workdir, "--config.num_steps=10", f"--config.encoder={file}:Own")
    )
    assert result.returncode == 0, result.stderr
    file.unlink()
    states = np.random.default_rng(0).integers(0, 2, (3, 10, 10, 4), dtype=np.uint8)
    assert pvn.load_features(workdir)(states).std() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.nonsense=1"], "error: config.nonsense: there is no such field\n"),
        (
            ["--config.batch_sise=8"],
            "error: config.batch_sise: there is no such field; did you mean batch_size?\n",
        ),
        (
            ["--config.random_network.proportion=0.0"],
            "error: config.random_network.proportion: 0.0, expected a number in (0, 1)",
        ),
        (
            ["--config.random_network.proportion=0.1"],
            "error: config.random_network.proportion: has no effect with config.indicator=local_n",
        ),
        (["--config.num_features=0"], "error: config.num_features: 0, expected a whole number, fr"),
        (["--config.batch_size=many"], "error: flag --config.batch_size=many: invalid literal for"),
        (
            ["--config.random_network.proportionn=0.1"],
            "error: config.random_network.proportionn: there is no such field; did you mean prop",
        ),
        (["--config.encoder=natur"], "error: encoder 'natur': expected one of nature, nature"),
        (["--config.indicator=x"], "error: config.indicator: 'x', expected one of random_network"),
        (
            ["--profile_steps=5:4"],
            "error: --profile_steps: 5:4, expected FIRST:LAST, such as 100:110",
        ),
        (["--profile_steps=9"], "error: --profile_steps: 9, expected FIRST:LAST, such as 100:110"),
        (
            ["--config.loss=monte_carlo", "--config.responses=in_step"],
            "error: config.loss: monte_carlo needs cumulants known beforehand, expected responses",
        ),
        (
            ["--config.loss=inverse_dynamics", "--config.next_states=shuffled"],
            "error: config.next_states: shuffled, expected real with config.loss=inverse_dynamics",
        ),
        (
            ["--config.heads_bias=fixed_point", "--config.loss=inverse_dynamics"],
            "error: config.heads_bias: fixed_point needs cumulants known beforehand, expected zero",
        ),
        (
            ["--config.heads_bias=fixed_point", "--config.cumulants=standardised"],
            "error: config.heads_bias: fixed_point, expected zero with config.cumulants=standard",
        ),
        (
            ["--config.next_states=shuffled", "--config.batch_size=1"],
            "error: config.batch_size: 1, expected 2 or more with config.next_states=shuffled",
        ),
        (
            ["--config.discount=0.9,0.8,0.7", "--config.num_tasks=2"],
            "error: config.discount: 3 of them, expected at most num_tasks, 2",
        ),
        (
            ["--config.candidates_per_task=2", "--config.indicator=random_cumulant"],
            "error: config.candidates_per_task: 2, expected 1 with config.indicator=random_",
        ),
        (
            ["--config.discount=0.9,1.0"],
            "error: config.discount: (0.9, 1.0), expected a number in [0, 1), or several: a,b",
        ),
        (["--config.num_devices=99"], "error: config.num_devices: 99, there are 1"),
        (["--config.dataset=/nowhere"], "error: dataset /nowhere: does not exist; make one with"),
        (["--config=/nowhere.py"], "error: --config=/nowhere.py: cannot be loaded ("),
        (["--config=README.md"], "error: --config=README.md: line "),
    ],
)
def test_bad_input(
    run: Callable, dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    workdir = tmp_path / "run"
    result = run("pvn.pretrain", f"--config.dataset={dataset}", f"--workdir={workdir}", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0].rpartition(".")[-1]
        if name != "config":
            assert name in result.stderr
    assert not workdir.exists()


def test_an_own_indicator_that_cannot_be_exported(
    run: Callable, minatar: Path, tmp_path: Path
) -> None:
    file, workdir = tmp_path / "mine.py", tmp_path / "run"
    file.write_text("""
import jax
from typing import NamedTuple
from pvn.indicators.indicator import Indicator

class Own(NamedTuple):
    def indicator(self, num_tasks):
        def response(key, observation):
            return jax.random.normal(key, (num_tasks,))[None] * observation.mean((1, 2, 3))[:, None]
        return Indicator(num_tasks, lambda key, _: (key, ()), response, lambda _, values: values)
""")
    arguments = _arguments(
        *(minatar, workdir, "--config.num_steps=10", f"--config.indicator={file}:Own"),
        "--config.heads_bias=zero",
    )
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: features: parameter frozen of indicator {file}:Own is key<fry>, expected NumPy's "
        "numbers; --config.export_successor=False leaves the heads out\n"
    )
    assert not workdir.exists()
    result = run(*arguments, "--config.export_successor=False")
    assert result.returncode == 0, result.stderr
    assert not (workdir / "features" / "successor.safetensors").exists()


def test_tasks_that_cannot_be_drawn(run: Callable, dataset: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    flags = ("--config.indicator=local_network", "--config.num_tasks=8000")
    large = "--config.local_network.tasks_per_network=8000"
    result = run(*_on_atari(dataset, workdir, *flags, large))
    assert result.returncode == 1
    assert result.stderr == (
        "error: config.local_network: a network has 7744 units for observations [84, 84, 4], "
        "expected at least 8000: a smaller pool, or a smaller tasks_per_network\n"
    )
    assert not workdir.exists()


def test_a_batch_that_the_devices_do_not_divide(
    run: Callable, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = tmp_path / "run"
    result = run(
        "pvn.pretrain",
        f"--config.dataset={dataset}",
        f"--workdir={workdir}",
        "--config.batch_size=30",
        virtual_devices=8,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "error: config.batch_size: 30 does not divide over 8 devices, expected a multiple of 8\n"
    )


def test_a_flipped_bit_in_a_shard_is_named(run: Callable, dataset: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(dataset, broken)
    shard = broken / "frame" / "c" / "0" / "0" / "0"
    flip(shard, shard.stat().st_size // 3)
    result = run(*_on_atari(broken, tmp_path / "run", "--config.num_steps=10"))
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: dataset {broken}: array frame cannot be read")
    assert str(shard) in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_loss_that_is_not_finite_stops_the_run(
    run: Callable, minatar: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    result = run(
        *_arguments(minatar, workdir, "--config.num_steps=100", "--config.learning_rate=1e30")
    )
    assert result.returncode == 1
    assert "error: the loss or its gradient is not finite at step " in result.stderr
    assert not (workdir / "checkpoints").exists()


def test_another_config_in_the_same_workdir(
    run: Callable, minatar: Path, whole: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "notes.txt").write_text("mine")
    other = _arguments(
        minatar, workdir, "--config.num_steps=10", "--config.discount=0.5", "--config.seed=3"
    )
    result = run(*other)
    assert result.returncode == 1
    assert (
        f"--workdir={workdir}: holds a run with another config: discount ([0.95], now [0.5]); "
        "seed (0, now 3)." in result.stderr
    )
    assert run(*other, "--overwrite").returncode == 0
    assert pvn.load_features(workdir).metadata["seed"] == 3
    assert (workdir / "notes.txt").read_text() == "mine"


def test_broken_checkpoints(run: Callable, minatar: Path, whole: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    more = _arguments(minatar, workdir, "--config.num_steps=70")

    def spoil(step: int) -> None:
        folder = workdir / "checkpoints" / f"step_{step:010d}"
        largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        flip(largest)

    spoil(60)
    result = run(*more)
    assert result.returncode == 0
    assert "step_0000000060: passed over, its file state.npz" in result.stderr
    spoil(60)
    spoil(70)
    (workdir / "config.json").write_text((whole / "config.json").read_text())
    result = run(*more)
    assert result.returncode == 1
    assert "none of the 2 can be used" in result.stderr
    assert "--overwrite starts anew" in result.stderr


def test_overwrite_deletes_only_a_run_of_its_own_kind(
    run: Callable, minatar: Path, whole: Path
) -> None:
    before = contents(whole)
    result = run("pvn.evaluate", f"--features={whole}", f"--workdir={whole}", "--overwrite")
    assert result.returncode == 1
    assert "holds a run of pvn.pretrain; name another --workdir" in result.stderr
    assert contents(whole) == before


def test_a_run_with_another_version_of_the_indicators_is_refused(
    run: Callable, minatar: Path, whole: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    config = json.loads((workdir / "config.json").read_text())
    del config["indicators_version"]  # as in a run of version 1
    (workdir / "config.json").write_text(json.dumps(config))
    result = run(*_arguments(minatar, workdir, "--config.num_steps=70"))
    assert result.returncode == 1
    assert "holds a run with another config: indicators_version (None, now 2)." in result.stderr


def test_a_family_with_a_setting_is_one_file_and_one_line(
    run: Callable, minatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family needs a new file and an entry in INDICATORS; its settings are config fields."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "brightness.py").write_text("""
from typing import Annotated, NamedTuple

import jax.numpy as jnp

from pvn.fields import real
from pvn.indicators.indicator import Indicator


class Brightness(NamedTuple):
    power: Annotated[float, real(0, 9, closed="()")] = 1.0

    def indicator(self, num_tasks):
        def response(frozen, observation):
            mean = jnp.mean(observation / 255, axis=(1, 2, 3))
            return (mean[:, None] * frozen[None]) ** self.power

        return Indicator(
            num_tasks,
            init=lambda key, observation: (jnp.arange(1.0, num_tasks + 1), ()),
            response=response,
            cumulant=lambda fitted, response: response,
        )
""")
    (tmp_path / "main.py").write_text("""
from pvn.runs import console
from pvn import pretrain
from pvn.indicators.registry import INDICATORS

from brightness import Brightness

INDICATORS["brightness"] = Brightness
pretrain.FIELDS["indicator"] = pretrain.FIELDS["indicator"]._replace(holds=INDICATORS.__contains__)
console.run(pretrain.main)
""")
    config = tmp_path / "config.py"
    config.write_text("""
from configs import pretrain
from ml_collections import ConfigDict


def get_config():
    config = pretrain.get_config()
    config.indicator = "brightness"
    config.brightness = ConfigDict({"power": 0.5})
    return config
""")
    workdir = tmp_path / "run"
    _, *flags = _arguments(minatar, workdir, "--config.num_steps=10", f"--config={config}")
    result = run("main", *flags, "--config.brightness.power=2.0")
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "config.json").read_text())["brightness"] == {"power": 2.0}
    again = run("main", *flags, "--config.brightness.power=9.0")
    assert again.returncode == 1
    assert again.stderr == (
        "error: config.brightness.power: 9.0, expected a number in (0.0, 9.0)\n"
    ).replace("0.0, 9.0)", "0, 9)")


def test_with_64_bit_numbers(
    run: Callable, minatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    arguments = _arguments(minatar, tmp_path / "run", "--config.num_steps=10")
    result = run(*arguments, "--config.indicator=random_hash")
    assert result.returncode == 0, result.stderr


def test_each_step_is_compiled_once(
    run: Callable, minatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With logging and checkpoints. (On two devices: tests/learning/test_loop.py.)"""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "counting_pretrain.py").write_text(
        "import chex\n"
        "from pvn import pretrain\n"
        "from pvn.pretraining import training\n"
        "from pvn.runs import console\n"
        "make = training.make_train_step\n"
        "training.make_train_step = lambda **c: chex.assert_max_traces(make(**c), 1)\n"
        "console.run(pretrain.main)\n"
    )
    _, *flags = _arguments(minatar, tmp_path / "run", "--config.num_steps=40")
    result = run("counting_pretrain", *flags)
    assert result.returncode == 0, result.stderr


def test_a_dataset_that_has_grown_is_another(
    run: Callable, minatar: Path, whole: Path, tmp_path: Path
) -> None:
    workdir, grown = tmp_path / "run", tmp_path / "grown"
    shutil.copytree(whole, workdir)
    shutil.copytree(minatar, grown)
    run("pvn.collect", "--game=MinAtar/Breakout", "--num_steps=3500", f"--dataset={grown}")
    more = _arguments(grown, workdir, f"--config.dataset={grown}", "--config.num_steps=70")
    result = run(*more)
    assert result.returncode == 1
    assert "dataset_fingerprint (" in result.stderr
    assert (workdir / "responses" / "c" / "0" / "0").stat().st_size == 4096 * 1 + 4


def test_tasks_that_are_all_dead(run: Callable, minatar: Path, tmp_path: Path) -> None:
    result = run(
        *_arguments(minatar, tmp_path / "run", "--config.local_network.proportion=0.00001")
    )
    assert result.returncode == 1
    assert "error: config.indicator: all " in result.stderr
    assert " tasks are the same in every state; expected another proportion" in result.stderr
    assert not (tmp_path / "run" / "features").exists()


def test_warmup_with_nothing_to_regress(run: Callable, minatar: Path, tmp_path: Path) -> None:
    result = run(*_arguments(minatar, tmp_path / "run", "--config.warmup_steps=5"))
    assert result.returncode == 1
    assert (
        "error: config.warmup_steps: 5, expected 0: there are no thresholds to regress"
        in result.stderr
    )
