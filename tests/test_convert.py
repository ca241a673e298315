"""Converted public data agree with the records of the programs that played."""

import gzip
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from pvn.data.layout import Rows
from pvn.data.store import open_dataset, read_attributes
from pvn.data.transitions import transition_rows
from pvn.errors import UserError
from pvn.formats.dopamine import log_file
from pvn.formats.tfrecord import read_records
from tests.datasets import read_dataset
from tests.files import contents, flip, load_npy_gz, save_npy_gz

FIXTURES = Path(__file__).parent / "fixtures"
LOGS = "Breakout/1/replay_logs"


def convert(run: Callable, source: str, path: Path, dataset: Path, *more: str) -> str:
    result = run(
        "pvn.convert",
        f"--source={source}",
        f"--path={path}",
        "--game=Breakout",
        f"--dataset={dataset}",
        *more,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def assert_is_the_truth(rows: Rows, source: str) -> None:
    """Every column, and the list of transitions in the `zero_pad` convention."""
    truth = np.load(FIXTURES / source / "truth.npz")
    kept = truth["part"] >= 0
    if source != "dopamine":
        kept &= truth["action_reward_valid"]
    episode, step, part = (truth[key][kept] for key in ("episode_id", "step_in_episode", "part"))
    np.testing.assert_array_equal(rows.frame, truth["frames"][kept])
    for name in ("action", "reward", "terminal"):
        np.testing.assert_array_equal(getattr(rows, name), truth[name][kept], strict=True)
    # Windows are never joined: every fragment becomes a separate episode.
    piece = np.cumsum(np.diff(episode * 10 + part, prepend=-1) != 0) - 1
    np.testing.assert_array_equal(rows.episode, piece)
    first, last = np.diff(piece, prepend=-1) != 0, np.diff(piece, append=-1) != 0
    np.testing.assert_array_equal(rows.cut_start, first & (step > 0))
    np.testing.assert_array_equal(rows.truncated, last & ~rows.terminal)
    found = transition_rows(rows)
    np.testing.assert_array_equal(np.stack([episode, step], 1)[found], truth["valid_zero_pad"])


@pytest.mark.parametrize("source", ["dopamine", "rlds", "rlds_raw"])
def test_the_fixtures_are_the_truth(run: Callable, tmp_path: Path, source: str) -> None:
    # The raw fixture is two of the 50 files of a run.
    more = ["--checkpoints=0-1"] if source == "rlds_raw" else []
    stderr = convert(run, source, FIXTURES / source, tmp_path / "d", *more)
    expected = {
        "dopamine": "3,451 rows in 20 episodes of Breakout\n",
        "rlds": "966 rows in 7 episodes of Breakout; ended_games 4\n",
    }
    assert stderr == f"{tmp_path / 'd'}: " + expected[source.removesuffix("_raw")]
    dataset = read_dataset(tmp_path / "d")
    assert_is_the_truth(dataset.rows, source)
    assert dataset.attributes["game"] == "Breakout"
    assert dataset.attributes["num_actions"] == 4
    assert dataset.attributes["source"]["format"] == source
    result = run("pvn.dataset", "verify", str(tmp_path / "d"))
    assert result.returncode == 0, result.stderr


def test_the_layout_of_newer_logs(run: Callable, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "dopamine", tmp_path / "logs")
    for file in (FIXTURES / "dopamine_seventh_file").iterdir():
        shutil.copy(file, tmp_path / "logs" / LOGS)
    convert(run, "dopamine", tmp_path / "logs", tmp_path / "d", "--runs=1", "--checkpoints=0-2")
    assert_is_the_truth(read_dataset(tmp_path / "d").rows, "dopamine")


def test_chosen_checkpoints_and_the_other_reading_of_a_last_row(
    run: Callable, tmp_path: Path
) -> None:
    truth = np.load(FIXTURES / "rlds" / "truth.npz")
    arguments = ("--checkpoints=1", "--rlds_last_row=step", "--num_threads=1")
    convert(run, "rlds", FIXTURES / "rlds", tmp_path / "d", *arguments)
    rows = read_dataset(tmp_path / "d").rows
    here = truth["part"] == 1
    np.testing.assert_array_equal(rows.frame, truth["frames"][here])
    np.testing.assert_array_equal(rows.terminal, truth["is_terminal"][here])
    assert len(transition_rows(rows)) == here.sum() - 2  # two of the four episodes are truncated


@pytest.fixture(scope="module")
def long_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four windows of 12,000 rows, with episodes of 400 rows and two NaN rewards."""
    path = tmp_path_factory.mktemp("long")
    frames = np.load(FIXTURES / "dopamine" / "truth.npz")["frames"]
    folder = path / LOGS
    folder.mkdir(parents=True)
    row = np.arange(12_000)
    padding = row % 403 < 3
    columns = {
        "observation": np.where(padding[:, None, None], 0, frames[row % len(frames)]),
        "action": np.where(padding, 0, row % 4).astype(np.int32),
        "reward": np.zeros(12_000, np.float32),
        "terminal": (row % 403 == 402).astype(np.uint8),
    }
    columns["reward"][[50, 7000]] = np.nan
    for number in range(4):
        for name, array in columns.items():
            save_npy_gz(log_file(folder, name, number), array)
        save_npy_gz(log_file(folder, "add_count", number), np.array((number + 1) * 12_000 - 1))
    return path


@pytest.fixture(scope="module")
def long_dataset(run: Callable, long_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = tmp_path_factory.mktemp("whole") / "d"
    stderr = convert(run, "dopamine", long_logs, dataset)
    assert stderr.endswith("47,636 rows in 120 episodes of Breakout; nan_rewards 8\n")
    return dataset


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := condition():
            return found
    raise TimeoutError


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_and_started_again_it_is_the_same_byte_for_byte(
    run: Callable,
    start: Callable,
    long_logs: Path,
    long_dataset: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    dataset = tmp_path / "d"
    arguments = ("--source=dopamine", f"--path={long_logs}", "--game=Breakout")
    process = start("pvn.convert", *arguments, f"--dataset={dataset}")

    def some_units() -> bool:
        try:
            return read_attributes(dataset)["complete"]["units"] > 0
        except UserError:  # the dataset does not exist yet
            return False

    # The interruption is in the second of four windows. Each window takes about 0.1 s.
    wait_for(some_units)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number], stderr
    if number == signal.SIGTERM:
        assert "stopped early, the same command completes it" in stderr
    assert 1 <= read_attributes(dataset)["complete"]["units"] < 4
    # Only whole files are published, and `verify` reports an unfinished conversion.
    found = open_dataset(dataset).rows
    assert found.terminal[-1] or found.truncated[-1]
    looked = run("pvn.dataset", "verify", str(dataset))
    assert looked.returncode == 1
    assert "of 4 files: the same pvn.convert command completes it" in looked.stderr
    stderr = convert(run, "dopamine", long_logs, dataset)
    assert "; nan_rewards 8" in stderr
    assert contents(dataset) == contents(long_dataset)
    # A further run has nothing to do.
    convert(run, "dopamine", long_logs, dataset)
    assert contents(dataset) == contents(long_dataset)


def test_a_bad_window_is_left_out(run: Callable, long_logs: Path, tmp_path: Path) -> None:
    shutil.copytree(long_logs, tmp_path / "logs")
    file = log_file(tmp_path / "logs" / LOGS, "observation", 1)
    flip(file, -5)  # in gzip's checksum, which is read after all rows
    arguments = [
        "--source=dopamine", f"--path={tmp_path / 'logs'}", "--game=Breakout",
        f"--dataset={tmp_path / 'd'}",
    ]  # fmt: skip
    result = run("pvn.convert", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {file}: is broken, or no .npy in gzip (")
    assert result.stderr.endswith("; --skip_corrupt leaves it out\n")
    assert result.stderr.count("\n") == 1
    result = run("pvn.convert", *arguments, "--skip_corrupt")  # continues
    assert result.returncode == 0, result.stderr
    assert f"left out: {file}: is broken" in result.stderr
    assert "35,727 rows in 90 episodes of Breakout; nan_rewards 6; skipped_files 1" in result.stderr
    assert run("pvn.dataset", "verify", str(tmp_path / "d")).returncode == 0


def test_missing_files_are_named_or_counted(run: Callable, tmp_path: Path) -> None:
    """A window without its observations, and a listed split without any shard."""
    logs, rlds = tmp_path / "logs", tmp_path / "rlds"
    shutil.copytree(FIXTURES / "dopamine", logs)
    shutil.copytree(FIXTURES / "rlds", rlds)
    window = log_file(logs / LOGS, "observation", 1)
    window.unlink()
    shards = sorted(rlds.rglob("*checkpoint_01*"))
    assert len(shards) == 2
    for shard in shards:
        shard.unlink()
    cases = [
        ("dopamine", logs, [f"{window}: missing from window 1"], "1,976 rows in 11 episodes", 1),
        ("rlds", rlds, [f"{s}: is missing" for s in shards], "391 rows in 3 episodes", 2),
    ]
    for source, path, lines, rows, count in cases:
        dataset = tmp_path / f"{source}_dataset"
        arguments = [
            "pvn.convert", f"--source={source}", f"--path={path}", "--game=Breakout",
            f"--dataset={dataset}",
        ]  # fmt: skip
        result = run(*arguments)
        assert result.returncode == 1
        more = "" if count == 1 else " (and 1 more like this)"
        assert result.stderr == f"error: {lines[0]}{more}; --skip_missing continues without them\n"
        assert not dataset.exists()
        result = run(*arguments, "--skip_missing")
        assert result.returncode == 0, result.stderr
        *left_out, last = result.stderr.splitlines()
        assert left_out == [f"left out: {line}" for line in lines]
        assert last.startswith(f"{dataset}: {rows} of Breakout")
        assert f"; missing_files {count}" in last
        assert read_attributes(dataset)["complete"]["counts"]["missing_files"] == count


def test_datasets_prepared_as_array_record(run: Callable, tmp_path: Path) -> None:
    """The payloads of the TFRecord fixture, written by the library that TFDS uses."""
    shutil.copytree(FIXTURES / "rlds", tmp_path / "rlds")
    for file in sorted((tmp_path / "rlds").rglob("*.tfrecord-*")):
        target = file.with_name(file.name.replace("tfrecord", "array_record"))
        writer = ArrayRecordWriter(str(target), "group_size:1")
        with file.open("rb") as stream:
            for record in read_records(stream):
                writer.write(record.payload)
        writer.close()
        file.unlink()
    (info,) = (tmp_path / "rlds").rglob("dataset_info.json")
    info.write_text(info.read_text().replace('"tfrecord"', '"array_record"'))
    assert json.loads(info.read_text())["fileFormat"] == "array_record"
    convert(run, "rlds", tmp_path / "rlds", tmp_path / "d")
    assert_is_the_truth(read_dataset(tmp_path / "d").rows, "rlds")


def test_round_trip_through_dopamine_logs(run: Callable, dataset: Path, tmp_path: Path) -> None:
    """Writes our own data as Dopamine logs, and reads the logs."""
    out = run(
        "pvn.convert", "--to=dopamine", f"--dataset={dataset}", f"--path={tmp_path}",
        "--capacity=1000", "--runs=2",
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    folder = tmp_path / "Breakout" / "2" / "replay_logs"
    assert len(list(folder.iterdir())) % 7 == 0
    assert load_npy_gz(log_file(folder, "observation", 0)).shape == (1000, 84, 84)
    convert(run, "dopamine", tmp_path, tmp_path / "back", "--runs=2")
    rows, back = read_dataset(dataset).rows, read_dataset(tmp_path / "back").rows
    for name in (*rows.columns, "frame"):
        column = getattr(rows, name)
        column = np.clip(column, -1, 1) if name == "reward" else column
        np.testing.assert_array_equal(getattr(back, name), column, strict=True, err_msg=name)
    again = run(
        "pvn.convert", "--to=dopamine", f"--dataset={dataset}", f"--path={tmp_path}", "--runs=2"
    )
    assert again.returncode == 1
    assert again.stderr == (
        f"error: {folder}: is there already; choose another --runs or pass --overwrite\n"
    )


def test_minatar_does_not_become_dopamine_logs(
    run: Callable, minatar: Path, tmp_path: Path
) -> None:
    out = run("pvn.convert", "--to=dopamine", f"--dataset={minatar}", f"--path={tmp_path}/logs")
    assert out.returncode == 1
    assert out.stderr.startswith(f"error: dataset {minatar}: is of MinAtar/"), out.stderr
    assert not (tmp_path / "logs").exists()


def test_a_full_disk_is_an_error_of_one_line(dataset: Path, tmp_path: Path) -> None:
    """A limit of 20 KiB for each file replaces a full disk."""
    words = [
        *(sys.executable, "-m", "pvn.convert", "--to=dopamine", f"--dataset={dataset}"),
        *(f"--path={tmp_path}", "--capacity=4000"),
    ]
    result = subprocess.run(
        f"ulimit -f 20; {shlex.join(words)}",
        shell=True,
        executable="/bin/bash",
        cwd=FIXTURES.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    folder = tmp_path / "Breakout" / "1" / "replay_logs.partial"
    file = log_file(folder, "observation", 0)
    assert result.stderr == f"error: {file}: File too large\n"
    assert not folder.with_name("replay_logs").exists()


def test_a_last_row_with_a_reward_gives_a_warning(run: Callable, tmp_path: Path) -> None:
    from tests.formats.test_rlds import episode_of, payload_of, record

    episodes = [episode_of(seed, 6, True) for seed in range(3)]
    for _, action, reward, _ in episodes:
        action %= 4
        reward[-1] = 1
    (tmp_path / "Breakout").mkdir()
    records = b"".join(record(payload_of(e, True)) for e in episodes)
    (tmp_path / "Breakout" / "run_1-00000-of-00001").write_bytes(gzip.compress(records))
    stderr = convert(run, "rlds_raw", tmp_path, tmp_path / "d")
    assert stderr.splitlines()[-1] == (
        "warning: in 3 of 3 games that ended, the last row has a reward, or is the last one that "
        "the time limit allows, like an ordinary step; was it one? See --rlds_last_row=step"
    )
    stderr = convert(run, "rlds_raw", tmp_path, tmp_path / "e", "--rlds_last_row=step")
    assert "warning" not in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--source, --to: expected one of them"),
        (["--source=dopamine"], "--game: is missing, expected a game as its folders spell it"),
        (["--source=dopamine", "--game=Brekout"], "unknown game 'Brekout'; did you mean Breakout"),
        (["--source=dopamine", "--game=Pong"], "PATH/Pong/1/replay_logs: no such folder"),
        (
            ["--source=dopamine", "--game=Breakout", "--runs=one"],
            "--runs=one: expected numbers from 1 on, like 1-3,7",
        ),
        (
            ["--source=dopamine", "--game=Breakout", "--checkpoints=3-1"],
            "--checkpoints=3-1: expected numbers from 0 on, like 0-3,7",
        ),
        (
            ["--source=dopamine", "--game=Breakout", "--checkpoints=0-49"],
            f"PATH/{LOGS}: has no checkpoint 3-49, only 0-2; choose with --checkpoints; --skip_",
        ),
        (
            ["--source=dopamine", "--game=Breakout", "--split=mixed_small"],
            f"PATH/{LOGS}: has no checkpoint 24, only 0-2",
        ),
        (
            ["--source=dopamine", "--game=Breakout", "--split=weak"],
            "PATH/Breakout/2/replay_logs: no such folder",
        ),
        (
            ["--source=dopamine", "--game=Breakout", "--split=full", "--checkpoints=0"],
            "--split and --checkpoints: expected one of them",
        ),
        (
            ["--source=dopamine", "--game=Breakout", "--num_actions=3"],
            "run 1 window 0: holds action 3, expected 0 to 2; another game, or choose --num_act",
        ),
        (["--source=rlds", "--game=Breakout"], "PATH/rlu_atari_checkpoints_ordered/Breakout_run_1"),
        (["--source=rlds_raw", "--game=Breakout"], "PATH/Breakout: holds no files run_1-00000-of"),
        (
            ["--source=dopamine", "--game=Breakout", "--checkpoints=0-9999999999"],
            "--checkpoints=0-9999999999: expected numbers from 0 on",
        ),
        (["--to=dopamine"], "dataset DATASET: does not exist; make one with"),
        (["--to=dopamine", "--path=gs://b/c"], "--path=gs://b/c: expected a local path"),
        (["--to=dopamine", "--split=weak"], "--split: goes with --source, not with --to"),
    ],
)
def test_bad_input(run: Callable, tmp_path: Path, arguments: list[str], message: str) -> None:
    path, dataset = FIXTURES / "dopamine", tmp_path / "d"
    result = run("pvn.convert", f"--path={path}", f"--dataset={dataset}", *arguments)
    assert result.returncode == 1
    message = message.replace("PATH", str(path)).replace("DATASET", str(dataset))
    assert result.stderr.startswith(f"error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


def test_the_same_dataset_again(run: Callable, tmp_path: Path) -> None:
    """More files extend a dataset. Other files, also of the same name, are refused."""
    arguments = ["--source=dopamine", "--game=Breakout", f"--dataset={tmp_path / 'd'}"]
    path = f"--path={FIXTURES / 'dopamine'}"
    for checkpoints in ("0", "0-2"):
        result = run("pvn.convert", *arguments, path, f"--checkpoints={checkpoints}")
        assert result.returncode == 0, result.stderr
    assert_is_the_truth(read_dataset(tmp_path / "d").rows, "dopamine")
    before = contents(tmp_path / "d")
    other = tmp_path / "other" / LOGS
    shutil.copytree(FIXTURES / "dopamine" / LOGS, other)
    file = log_file(other, "observation", 1)
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), 1))
    size = log_file(FIXTURES / "dopamine" / LOGS, "observation", 1).stat().st_size
    for changes, message in (
        ([path, "--checkpoints=0"], "was made of more files"),
        ([path, "--checkpoints=1"], "was made of run 1 window 0, "),
        (
            [f"--path={tmp_path / 'other'}"],
            f"was made of run 1 window 1, {size} bytes, now run 1 window 1, {file.stat().st_size}",
        ),
        ([path, "--num_actions=18"], "was made with another num_actions (4, now 18)"),
    ):
        result = run("pvn.convert", *arguments, *changes)
        assert result.returncode == 1
        assert result.stderr.startswith(f"error: dataset {tmp_path / 'd'}: {message}"), (
            result.stderr
        )
        assert result.stderr.endswith("; name another --dataset or pass --overwrite\n")
    assert contents(tmp_path / "d") == before
