"""Checkpoints of an evaluation: the pieces of the replay, corrupt files, a full disk."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest

from pvn.errors import UserError
from pvn.evaluation.checkpoint import (
    Checkpoint,
    restore_checkpoint,
    restore_replay,
    save_checkpoint,
)
from pvn.evaluation.replay import FeatureBuffer, Replay
from pvn.evaluation.stream import Position
from tests.files import flip

ENVS, FEATURES, CAPACITY = 2, 3, 6
IDENTITY = {"seed": 1, "fqi": {"iterations": 5}}


def empty() -> Replay:
    return Replay(CAPACITY, ENVS, FeatureBuffer(CAPACITY, ENVS, FEATURES), n_step=2, discount=0.9)


def play(replay: Replay, timesteps: int) -> None:
    """Adds timesteps. All values follow from the number of the timestep."""
    for _ in range(timesteps):
        random = np.random.default_rng(replay.added)
        replay.add(
            random.random((ENVS, FEATURES), np.float32),
            random.integers(18, size=ENVS),
            random.random(ENVS, np.float32),
            random.random(ENVS) < 0.2,
            random.random(ENVS) < 0.2,
        )


def progress(replay: Replay) -> Checkpoint:
    return Checkpoint(
        "train",
        replay.added * ENVS,
        0,
        b"a line of the scores\n" * 100 * replay.added,
        {"actions": np.full((replay.added, ENVS), 17, np.uint8), "random": np.array('{"a": 1}')},
        {"head": np.float32([[replay.added]])},
        Position(7, 2),
    )


def save(folder: Path, replay: Replay) -> None:
    save_checkpoint(folder, progress(replay), replay, IDENTITY)


def restored(folder: Path, expected: list[str] | None = None) -> Checkpoint | None:
    """The checkpoint. `expected`: the lines that are said, as beginnings and ends."""
    said: list[str] = []
    checkpoint = restore_checkpoint(folder, IDENTITY, said.append)
    assert said == (expected or [])
    return checkpoint


def assert_is(checkpoint: Checkpoint | None, replay: Replay) -> None:
    """The checkpoint is that of the replay; a replay restored from it goes on like the replay."""
    assert checkpoint is not None
    saved = progress(replay)
    assert checkpoint[:3] == saved[:3]
    for name in ("rollout", "learner"):
        found, expected = getattr(checkpoint, name), getattr(saved, name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)
            assert found[key].dtype == value.dtype
    other = empty()
    restore_replay(other, checkpoint.replay)
    for added in (replay.added, replay.added + 1, replay.added + 1 + CAPACITY):
        assert other.added == added
        same = empty()
        play(same, added)
        for name, array in same.rows(same.oldest).items():
            np.testing.assert_array_equal(other.rows(same.oldest)[name], array)
        for one, two in zip(
            other.gather(*other.starts()), same.gather(*same.starts()), strict=True
        ):
            np.testing.assert_array_equal(one, two)
        play(other, 1 if added == replay.added else CAPACITY)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_each_checkpoint_writes_the_new_timesteps_only(tmp_path: Path) -> None:
    replay, spans = empty(), []
    # The ring has 6 timesteps: from the third checkpoint on, it has been overwritten.
    for timesteps in (3, 2, 4, 1, 20, 0, 5):
        play(replay, timesteps)
        save(tmp_path, replay)
        checkpoint = restored(tmp_path)
        assert_is(checkpoint, replay)
        spans.append([file.stem.removeprefix("replay_") for file in checkpoint.replay])
    spans = [[[int(number) for number in span.split("_")] for span in each] for each in spans]
    assert spans == [
        [[0, 3]],
        [[0, 3], [3, 5]],
        [[3, 5], [5, 9]],
        [[3, 5], [5, 9], [9, 10]],
        [[24, 30]],
        [[24, 30]],
        [[24, 30], [30, 35]],
    ]
    assert names(tmp_path) == [
        "replay_0000000024_0000000030.npz",
        "replay_0000000030_0000000035.npz",
        *("step_0000000060.json", "step_0000000060.npz"),
        *("step_0000000070.json", "step_0000000070.npz"),
    ]


def test_the_replay_is_deleted_two_checkpoints_after_learning(tmp_path: Path) -> None:
    replay = empty()
    play(replay, 3)
    save(tmp_path, replay)
    for step in (8, 10):
        checkpoint = progress(replay)._replace(phase="eval", agent_step=step)
        save_checkpoint(tmp_path, checkpoint, None, IDENTITY)
        assert ("replay_0000000000_0000000003.npz" in names(tmp_path)) == (step == 8)
        found = restored(tmp_path)
        assert (found.phase, found.agent_step, found.replay) == ("eval", step, ())


def test_nothing_was_saved(tmp_path: Path) -> None:
    assert restored(tmp_path / "missing") is None
    for name in ("replay_0000000000_0000000003.npz", "step_0000000006.npz.partial"):
        (tmp_path / name).write_bytes(b"of a process that was killed before the manifest")
    assert restored(tmp_path) is None
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (flip, "step_0000000010.json", "its step_0000000010.json is corrupt"),
        (flip, "step_0000000010.npz", "its file step_0000000010.npz is corrupt"),
        (
            Path.unlink,
            "replay_0000000003_0000000005.npz",
            "its file replay_0000000003_0000000005.npz is missing",
        ),
    ],
)
def test_a_corrupt_checkpoint_is_passed_over(tmp_path: Path, damage, name, reason) -> None:
    replay, before = empty(), empty()
    play(before, 3)
    play(replay, 3)
    save(tmp_path, replay)
    play(replay, 2)
    save(tmp_path, replay)
    damage(tmp_path / name)
    said = f"checkpoint {tmp_path / 'step_0000000010.json'}: passed over, {reason}"
    assert_is(restored(tmp_path, [said]), before)
    assert names(tmp_path) == [
        "replay_0000000000_0000000003.npz", "step_0000000006.json", "step_0000000006.npz",
    ]  # fmt: skip
    # The run goes on from there.
    save(tmp_path, replay)
    assert_is(restored(tmp_path), replay)


def test_if_all_are_corrupt_the_evaluation_starts_again(tmp_path: Path) -> None:
    replay = empty()
    for timesteps in (3, 2):
        play(replay, timesteps)
        save(tmp_path, replay)
    flip(tmp_path / "replay_0000000000_0000000003.npz")
    reason = "passed over, its file replay_0000000000_0000000003.npz is corrupt"
    said = [f"checkpoint {tmp_path / f'step_{step:010d}.json'}: {reason}" for step in (10, 6)]
    assert restored(tmp_path, [said[0], f"{said[1]}; the evaluation starts again"]) is None
    assert names(tmp_path) == []


def test_a_checkpoint_of_another_run_or_version_is_refused(tmp_path: Path) -> None:
    replay = empty()
    play(replay, 3)
    save(tmp_path, replay)
    before = names(tmp_path)
    with pytest.raises(UserError, match=r"is of another run: seed \(1, now 2\); move the"):
        restore_checkpoint(tmp_path, IDENTITY | {"seed": 2}, pytest.fail)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pvn.evaluation.checkpoint.VERSION", 1)
        with pytest.raises(UserError, match="its format version 2 is newer than 1; resume with"):
            restored(tmp_path)
    assert names(tmp_path) == before
    assert json.loads((tmp_path / "step_0000000006.json").read_text())["format"]


@pytest.mark.parametrize("left", [100, 2000])  # the new timesteps do not fit; the state does not
def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, left: int) -> None:
    """A limit on the size of files replaces a full disk."""
    replay, before = empty(), empty()
    play(before, 1)
    play(replay, 1)
    save(tmp_path, replay)
    play(replay, 5)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (left, limit[1]))
        with pytest.raises(OSError, match="File too large"):
            save(tmp_path, replay)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.glob("*.partial"))
    assert_is(restored(tmp_path), before)
    save(tmp_path, replay)
    assert_is(restored(tmp_path), replay)
