"""Collection through its command line: determinism, interruption, extension, bad input."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pvn.data.store import read_attributes
from pvn.envs.atari import AtariEnvs
from pvn.envs.streams import replayed_ram, stream_seeds, stream_starts
from pvn.errors import UserError
from pvn.play import check_same_play
from tests.datasets import read_dataset
from tests.files import contents


def test_what_is_stored(dataset: Path) -> None:
    found = read_dataset(dataset)
    rows, attributes = found.rows, found.attributes
    assert len(rows.action) == 3000
    assert attributes["game"] == "Breakout"
    assert attributes["num_actions"] == 4
    assert set(np.unique(rows.action)) == {0, 1, 2, 3}
    assert (np.diff(rows.episode) >= 0).all()
    assert set(np.diff(rows.episode)) == {0, 1}
    last = np.append(np.diff(rows.episode) == 1, True)
    # An episode's last row says why it ended, and no other row does.
    np.testing.assert_array_equal(last, rows.terminal | rows.truncated)
    # Only the last episode is truncated.
    assert np.flatnonzero(rows.truncated).tolist() == [2999]
    assert rows.reward.sum() > 0


def test_ram_is_that_of_the_same_play(dataset: Path) -> None:
    rows = read_dataset(dataset).rows
    first, second = stream_starts(rows.episode)
    for number, span in enumerate([slice(first, second), slice(second, 3000)]):
        seed, _ = stream_seeds(0, number)
        expected = replayed_ram(
            "Breakout", seed, rows.action[span], rows.reward[span], rows.terminal[span]
        )
        np.testing.assert_array_equal(rows.ram[span], expected, strict=True)


def test_without_ram(run: Callable, dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    arguments = ["pvn.collect", "--game=Breakout", f"--dataset={other}"]
    result = run(*arguments, "--num_steps=500", "--noram")
    assert result.returncode == 0, result.stderr
    found, whole = read_dataset(other), read_dataset(dataset)
    assert found.rows.ram is None
    assert not (other / "ram").exists()
    assert whole.attributes.keys() - found.attributes.keys() == {"ram"}
    np.testing.assert_array_equal(found.rows.frame, whole.rows.frame[:500])
    with pytest.raises(UserError) as caught:
        check_same_play("d", found.attributes, whole.attributes)
    assert str(caught.value) == (
        "dataset d: holds no RAM; pass --noram, name another --dataset or pass --overwrite"
    )
    with pytest.raises(UserError, match="dataset d: holds RAM; pass --ram, name another"):
        check_same_play("d", whole.attributes, found.attributes)


def test_any_number_of_environments_stores_the_same(
    run: Callable, dataset: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    result = run(
        "pvn.collect", "--game=Breakout", "--num_steps=3000", f"--dataset={other}", "--num_envs=3"
    )
    assert result.returncode == 0
    assert contents(other) == contents(dataset)


def test_another_seed_stores_something_else(run: Callable, dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("pvn.collect", "--game=Breakout", "--num_steps=500", f"--dataset={other}", "--seed=1")
    assert not np.array_equal(
        read_dataset(other).rows.action, read_dataset(dataset).rows.action[:500]
    )


LONG = ["pvn.collect", "--game=Breakout", "--num_envs=2", "--num_steps=5000"]


@pytest.fixture(scope="module")
def whole(run: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 timesteps without interruption."""
    path = tmp_path_factory.mktemp("collect") / "whole"
    assert run(*LONG, f"--dataset={path}").returncode == 0
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_and_completed(
    run: Callable, start: Callable, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    broken = tmp_path / "broken"
    process = start(*LONG, f"--dataset={broken}")
    while process.poll() is None:
        time.sleep(0.01)
        if (broken / "zarr.json").is_file() and read_attributes(broken)["num_rows"] > 0:
            process.send_signal(number)
            break
    process.communicate()
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    shorter = read_dataset(broken).rows
    assert 0 < len(shorter.action) < 5000
    np.testing.assert_array_equal(
        shorter.frame, read_dataset(whole).rows.frame[: len(shorter.action)]
    )
    assert run(*LONG, f"--dataset={broken}").returncode == 0
    assert contents(broken) == contents(whole)


def test_a_larger_number_of_steps_extends(run: Callable, dataset: Path, tmp_path: Path) -> None:
    grown = tmp_path / "grown"
    for steps in (700, 3000):
        result = run("pvn.collect", "--game=Breakout", f"--num_steps={steps}", f"--dataset={grown}")
        assert result.returncode == 0
    assert contents(grown) == contents(dataset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--game=Braekout"], "error: unknown game 'Braekout'; did you mean Breakout"),
        (["--num_steps=0"], "error: flag --num_steps=0: 0 is not a positive integer"),
        (["--epsilon=2"], "error: flag --epsilon=2: 2.0 is not a number in the range [0.0, 1.0]"),
        (["--nonsense=1"], "error: Unknown command line flag 'nonsense'"),
        (["stray"], "error: unexpected argument 'stray'; flags are written --name=value"),
        (["--policy=/nowhere"], "error: policy /nowhere: no policy.json there"),
        (["--policy=nowhere.py:Own"], "error: policy nowhere.py:Own: there is no file nowhere.py"),
        (["--seed=2147483648"], "error: --seed: 2147483648, expected a whole number, from 0 to"),
    ],
)
def test_bad_input(run: Callable, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("pvn.collect", f"--dataset={tmp_path / 'data'}", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_dataset_made_otherwise_does_not_change(run: Callable, dataset: Path) -> None:
    before = contents(dataset)
    result = run("pvn.collect", "--game=Pong", "--num_steps=5000", f"--dataset={dataset}")
    assert result.returncode == 1
    assert "was made with another game (Breakout, now Pong)" in result.stderr
    assert contents(dataset) == before


def test_overwrite_deletes_nothing_if_the_rest_is_wrong(
    run: Callable, dataset: Path, tmp_path: Path
) -> None:
    before = contents(dataset)
    for wrong in ("--game=Braekout", "--policy=/nowhere", "--policy=math:sqrt2"):
        result = run("pvn.collect", f"--dataset={dataset}", "--overwrite", wrong)
        assert result.returncode == 1
        assert contents(dataset) == before


def test_what_is_stored_is_what_the_emulator_showed(dataset: Path) -> None:
    """Plays the first stream again from its seeds.

    tests/envs compares the emulator with gymnasium's environment.
    """
    rows = read_dataset(dataset).rows
    emulator, actions = np.random.SeedSequence([0, 0]).spawn(2)
    random = np.random.default_rng(actions)
    envs = AtariEnvs("Breakout", 1)
    envs.reset(np.array([int(emulator.generate_state(1)[0]) >> 1]), np.array([True]))
    episode = 0
    for row in range(1000):
        action = int(random.integers(4))
        assert rows.action[row] == action
        np.testing.assert_array_equal(rows.frame[row], envs.observation[0, ..., -1])
        step = envs.step(np.array([action]))
        assert rows.reward[row] == step.reward[0]
        assert rows.terminal[row] == step.terminal[0]
        assert rows.episode[row] == episode
        if step.terminal[0]:
            envs.restart(step.terminal)
            episode += 1
    assert episode > 1


OWN = """
import numpy as np

def always_fire(observation):
    return np.ones(len(observation), np.int64)

class ByBrightness:
    \"\"\"Probabilities that depend on what is seen.\"\"\"

    def __call__(self, observation):
        bright = observation.mean(axis=(1, 2, 3)) / 255
        p = np.stack([bright, 0.5 - bright, 0 * bright, 0 * bright + 0.5], axis=1)
        return p.astype(np.float32)
"""


def test_a_users_own_policy(run: Callable, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    arguments = ["pvn.collect", "--game=Breakout", f"--policy={file}:always_fire"]
    fire = [*arguments, f"--dataset={tmp_path / 'fire'}"]
    result = run(*fire, "--num_steps=500")
    assert result.returncode == 0, result.stderr
    found = read_dataset(tmp_path / "fire")
    assert set(found.rows.action) == {1}
    source = found.attributes["source"]
    assert source["policy"] == "own.py:always_fire"
    assert source["epsilon"] == 0
    assert len(source["policy_files"]["own.py"]) == 64
    # The same policy extends the dataset. Another policy is refused.
    assert run(*fire, "--num_steps=600").returncode == 0
    file.write_text(OWN + "# changed")
    result = run(*fire, "--num_steps=700")
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: dataset {tmp_path / 'fire'}: was made with another so")


def test_probabilities_of_a_users_own_policy(run: Callable, tmp_path: Path) -> None:
    """The data depend on the seed and not on the number of emulators."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    arguments = ["pvn.collect", "--game=Breakout", f"--policy={file}:ByBrightness"]
    for name, num_envs in (("a", 1), ("b", 3)):
        result = run(
            *arguments, "--num_steps=2500", f"--num_envs={num_envs}", f"--dataset={tmp_path / name}"
        )
        assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    rows = read_dataset(tmp_path / "a").rows
    share = np.bincount(rows.action, minlength=4) / len(rows.action)
    assert share[2] == 0
    assert share[0] > 0
    # The bound is five standard deviations of a mean over 2,500.
    assert abs(share[3] - 0.5) < 0.05
    assert abs(share[0] + share[1] - 0.5) < 0.05


def test_policy_output_is_checked_before_anything_is_written(run: Callable, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def one(observation):\n    return 1\n")
    result = run("pvn.collect", f"--policy={file}:one", f"--dataset={tmp_path / 'd'}")
    assert result.returncode == 1
    assert result.stderr == (
        f"error: policy {file}:one: gave int64 [], expected whole actions [8], or float "
        "probabilities [8, 6]\n"
    )
    assert not (tmp_path / "d").exists()


def test_own_policies_need_no_jax(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    code = (
        "import sys; from pvn.collect import load_policy; "
        f"load_policy('{file}:always_fire', 'Breakout', 4, 2); print('jax' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "False\n", done.stderr


def test_a_policy_is_its_weights_and_not_its_path() -> None:
    def made(path: str, digest: str) -> dict:
        return {"source": {"policy": path, "head_sha256": digest}}

    check_same_play("d", made("runs/eval", "abc"), made("./runs/eval/", "abc"))
    with pytest.raises(UserError, match="was made with another source"):
        check_same_play("d", made("runs/eval", "abc"), made("runs/eval", "def"))
    with pytest.raises(UserError, match="was made with another source"):
        check_same_play("d", {"source": {"policy": "random"}}, made("runs/eval", "abc"))
