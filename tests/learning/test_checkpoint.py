import hashlib
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pvn.errors import UserError
from pvn.learning.checkpoint import restore_checkpoint, save_checkpoint
from tests.files import flip

IDENTITY = {"seed": 7, "dqn": {"rate": 0.5}, "counts": (1, 2)}


def _state(value: float) -> dict:
    return {
        "w": jnp.full((64, 3), value),
        "nested": [jnp.arange(5), jnp.int32(value)],
        "h": jnp.bfloat16(value),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, _state(step), IDENTITY, keep=2)
    return tmp_path


def test_round_trip_and_only_the_newest_are_kept(path: Path) -> None:
    state = restore_checkpoint(path, _state(0), IDENTITY, pytest.fail)
    assert state is not None
    np.testing.assert_array_equal(state["w"], _state(30)["w"])
    assert int(state["nested"][1]) == 30
    assert state["h"].dtype == jnp.bfloat16
    assert sorted(p.name for p in path.iterdir()) == ["step_0000000020", "step_0000000030"]


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert restore_checkpoint(tmp_path / "absent", _state(0), IDENTITY, pytest.fail) is None


@settings(
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_flipped_bit_anywhere_falls_back(path: Path, data: st.DataObject) -> None:
    newest = path / "step_0000000030"
    files = sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size)
    file = data.draw(st.sampled_from(files))
    position = data.draw(st.integers(0, file.stat().st_size - 1))
    bit = data.draw(st.integers(0, 7))
    whole = file.read_bytes()
    flip(file, position, bit)
    said: list[str] = []
    restored = restore_checkpoint(path, _state(0), IDENTITY, said.append)
    file.write_bytes(whole)
    assert restored is not None
    assert int(restored["nested"][1]) == 20
    assert len(said) == 1
    assert "step_0000000030: passed over" in said[0]


def test_a_missing_file_and_an_empty_folder_fall_back(path: Path) -> None:
    (path / "step_0000000040").mkdir()
    (path / "step_0000000030" / "state.npz").unlink()
    said: list[str] = []
    restored = restore_checkpoint(path, _state(0), IDENTITY, said.append)
    assert restored is not None
    assert int(restored["nested"][1]) == 20
    assert "its manifest.json is missing" in said[0]
    assert "is missing" in said[1]


def test_a_save_that_was_killed_is_ignored(path: Path) -> None:
    (path / "step_0000000040.partial").mkdir()
    restored = restore_checkpoint(path, _state(0), IDENTITY, pytest.fail)
    assert restored is not None
    assert int(restored["nested"][1]) == 30


def test_all_broken(path: Path) -> None:
    for step in (20, 30):
        (path / f"step_{step:010d}" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"none of the 2 can be used, .* --overwrite starts anew"):
        restore_checkpoint(path, _state(0), IDENTITY, lambda text: None)


def test_a_checkpoint_of_another_run_is_refused(path: Path) -> None:
    other = {"seed": 8, "dqn": {"rate": 0.25}, "counts": (1, 2)}
    with pytest.raises(UserError) as caught:
        restore_checkpoint(path, _state(0), other, pytest.fail)
    assert str(caught.value) == (
        f"checkpoint {path}/step_0000000030: is of another run: dqn.rate (0.5, now 0.25); seed (7, "
        "now 8); move the checkpoints away, or name another --workdir"
    )


def test_a_checkpoint_of_another_version_is_passed_over(path: Path) -> None:
    file = path / "step_0000000030" / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["sha256"]
    manifest["version"] = 2
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps({"sha256": digest, **manifest}))
    said: list[str] = []
    restored = restore_checkpoint(path, _state(0), IDENTITY, said.append)
    assert restored is not None
    assert int(restored["nested"][1]) == 20
    assert said[0].endswith("passed over, its format version is 2, this pvn reads 4")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"w": jnp.zeros((64, 4), int)}, "its w is int32 [64, 3], expected int32 [64, 4]"),
        ({"h": jnp.float32(0)}, "its h is bfloat16 [], expected float32 []"),
        ({"new": jnp.zeros(2)}, "it has no new, expected float32 [2]"),
        ({"nested": [jnp.arange(5)]}, "it has nested/1, which this run does not have"),
    ],
)
def test_a_state_that_does_not_fit_names_its_leaf(path: Path, change: dict, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        restore_checkpoint(path, _state(0) | change, IDENTITY, pytest.fail)
    assert str(caught.value) == (
        f"checkpoint {path}/step_0000000030: its state is not that of this run: {reason}"
    )
