"""The command pvn.dataset."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pvn.data.layout import Rows
from pvn.data.store import fingerprint, open_dataset
from pvn.data.writer import DatasetWriter
from pvn.dataset import contact_sheet
from tests.datasets import read_dataset
from tests.files import flip


def lines(text: str) -> dict[str, str]:
    return {
        name: value.strip() for name, value in (line.split(":", 1) for line in text.splitlines())
    }


def test_info(run: Callable, dataset: Path) -> None:
    result = run("pvn.dataset", "info", str(dataset))
    assert result.returncode == 0, result.stderr
    found = lines(result.stdout)
    rows = read_dataset(dataset).rows
    assert found["game"] == "Breakout, 4 actions"
    assert found["rows"].startswith("3,000, of which 2,999 are transitions")
    ended = int(rows.terminal.sum())
    assert found["episodes"] == f"{ended + 1}: {ended} ended, 1 truncated, 0 without their start"
    returns = [rows.reward[rows.episode == e].sum() for e in np.unique(rows.episode[rows.terminal])]
    assert found["returns"].startswith(
        f"mean {np.mean(returns):,.2f}, median {np.median(returns):g}"
    )
    assert found["actions"].startswith(f"0: {np.mean(rows.action == 0):.1%}, 1: ")
    assert json.loads(found["source"])["kind"] == "pvn.collect"
    size = sum(file.stat().st_size for file in dataset.rglob("*") if file.is_file())
    assert found["on disk"] == (
        f"{size / 2**20:,.1f} MiB, {size / 3000:,.1f} bytes a row, "
        f"{3000 * 7056 / size:.0f} times smaller than its frames"
    )
    assert found["fingerprint"] == fingerprint(dataset)


def test_verify(run: Callable, dataset: Path) -> None:
    result = run("pvn.dataset", "verify", str(dataset))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{dataset}: 3,000 rows, every checksum and rule holds\n"


def test_verify_names_every_broken_file_and_rule(run: Callable, tmp_path: Path) -> None:
    count = 3 * 8192
    bad = np.zeros(count, bool)
    rows = Rows(
        frame=np.zeros((count, 84, 84), np.uint8),
        action=np.where(np.arange(count) == 5, 7, 0).astype(np.int32),
        reward=np.where(np.arange(count) >= count - 2, np.nan, 0).astype(np.float32),
        terminal=np.arange(count) % 4096 == 4095,
        truncated=bad.copy(),
        cut_start=bad.copy(),
        episode=(np.arange(count) // 4096).astype(np.int32),
    )
    rows.terminal[[10, 4095]] = (
        True,
        False,
    )  # an early terminal; an episode without an end
    rows.truncated[8191] = True
    rows.cut_start[9000] = True
    rows.episode[16384:] += 1
    writer = DatasetWriter(
        tmp_path, {"game": "Pong", "num_actions": 6, "source": {}, "protocol": {}}
    )
    writer.commit(rows)
    for shard in (0, 2):
        file = tmp_path / "frame" / "c" / str(shard) / "0" / "0"
        flip(file, 100)
    result = run("pvn.dataset", "verify", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    found = [
        line.removeprefix(f"error: dataset {tmp_path}: ") for line in result.stderr.splitlines()
    ]
    for line, shard in zip(found[:2], (0, 2), strict=True):
        assert line.startswith("array frame cannot be read: ")
        assert f"frame/c/{shard}/0/0" in line
    assert found[2:] == [
        "row 16384: its episode is 5, expected 4",
        "zarr.json says 7 episodes, there are 6",
        "row 5: the action is not one of the game's (1 such rows)",
        f"row {count - 2}: the reward is not finite (2 such rows)",
        "row 10: terminal within an episode (1 such rows)",
        "row 9000: cut_start within an episode (1 such rows)",
        "row 8191: both terminal and truncated (1 such rows)",
        "row 4095: the last row of an episode is neither terminal nor truncated (1 such rows)",
    ]


def test_verify_reports_a_missing_file(run: Callable, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "d")
    (tmp_path / "d" / "reward" / "c" / "0").unlink()
    result = run("pvn.dataset", "verify", str(tmp_path / "d"))
    assert result.returncode == 1
    assert result.stderr == f"error: dataset {tmp_path / 'd'}: file reward/c/0 is missing\n"


def test_view(run: Callable, dataset: Path, tmp_path: Path) -> None:
    rows = open_dataset(dataset).rows
    (at,) = np.nonzero(rows.episode == 2)
    frames = rows.frame[at]
    arguments = ["pvn.dataset", "view", str(dataset), "--episode=2"]
    result = run(*arguments, f"--output={tmp_path / 'e.gif'}", "--max_frames=30")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'e.gif'}: 30 of the {len(at)} frames of episode 2\n"
    with Image.open(tmp_path / "e.gif") as gif:
        assert gif.size == (168, 168)
        # A GIF joins consecutive equal frames into one longer frame.
        assert 1 < gif.n_frames <= 30
        np.testing.assert_array_equal(np.array(gif.convert("L"))[::2, ::2], frames[0])
    result = run(*arguments, f"--output={tmp_path / 'e.png'}", "--max_frames=12")
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "e.png") as sheet:
        pixels = np.array(sheet)
    np.testing.assert_array_equal(pixels[1:85, 1:85], frames[0])
    np.testing.assert_array_equal(pixels[87:171, 87:171], frames[-1])


def test_a_contact_sheet_by_hand() -> None:
    sheet = contact_sheet(
        np.arange(1, 13, dtype=np.uint8)[:, None, None] * np.ones((84, 84), np.uint8)
    )
    assert sheet.shape == (172, 860)
    assert sheet[43::86, 43::86].tolist() == [
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [11, 12, 255, 255, 255, 255, 255, 255, 255, 255]
    ]  # fmt: skip
    assert contact_sheet(np.zeros((3, 84, 84), np.uint8)).shape == (86, 258)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected python -m pvn.dataset info|verify|view DIR"),
        (["info"], "expected python -m pvn.dataset info|verify|view DIR"),
        (["show", "DATASET"], "'show': expected python -m pvn.dataset info|verify|view DIR"),
        (["info", "DATASET", "x"], "unexpected argument 'x'; flags are written --name=value"),
        (["info", "/nowhere"], "dataset /nowhere: does not exist; make one with"),
        (
            ["view", "DATASET", "--episode=99999"],
            "--episode=99999: there is no such episode, ",
        ),
        (
            ["view", "DATASET", "--output=x.mp4"],
            "--output=x.mp4: expected a file that ends in .gif",
        ),
        (["view", "DATASET", "--output=/no/x.gif"], "--output=/no/x.gif: there is no folder /no"),
    ],
)
def test_bad_input(run: Callable, dataset: Path, arguments: list[str], message: str) -> None:
    result = run("pvn.dataset", *(word.replace("DATASET", str(dataset)) for word in arguments))
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {message}"), result.stderr
    assert result.stderr.count("\n") == 1
