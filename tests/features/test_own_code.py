"""A user's own encoder travels with the features."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pvn.features import load_features, random_features, save_features
from tests.features.support import OWN, assert_error, observations

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["FlaxOwn", "HaikuOwn"])
def test_own_encoder_travels_with_the_features(own, tmp_path, name):
    made = random_features(f"{own}:{name}", width=2, num_features=5)
    rows = made(observations(3))
    assert rows.any()
    save_features(tmp_path / "f", made)
    assert (tmp_path / "f" / "encoder.py").read_text() == OWN
    made = load_features(tmp_path / "f")
    assert made.metadata["encoder"] == f"encoder.py:{name}"
    save_features(tmp_path / "f", made)  # over itself
    save_features(tmp_path / "g", made)
    shutil.rmtree(own.parent)
    shutil.rmtree(tmp_path / "f")
    np.testing.assert_array_equal(load_features(tmp_path / "g")(observations(3)), rows)


def test_an_own_encoder_is_saved_as_it_was_loaded(own, tmp_path):
    made = random_features(f"{own}:FlaxOwn", num_features=5)
    own.write_text(OWN.replace("/ 255", "/ 256"))
    save_features(tmp_path / "f", made)
    assert (tmp_path / "f" / "encoder.py").read_text() == OWN


def test_own_encoder_of_a_relative_name(own, tmp_path, monkeypatch):
    monkeypatch.chdir(own.parent)
    made = random_features("own_features.py:FlaxOwn", num_features=5)
    save_features(tmp_path / "f", made)
    monkeypatch.chdir(tmp_path)
    own.unlink()
    np.testing.assert_array_equal(load_features("f")(observations(2)), made(observations(2)))


WITH_NEIGHBOURS = {
    "mine.py": """
import flax.linen as nn
import jax.numpy as jnp
from nets.blocks import Block

class Own(nn.Module):
    num_features: int
    width: int
    dtype: object

    @nn.compact
    def __call__(self, observation):
        from scaling import scale
        return Block(self.num_features)(scale(observation[:, ::21, ::21]))
""",
    "nets/blocks.py": """
import flax.linen as nn
import jax.numpy as jnp

class Block(nn.Module):
    size: int

    @nn.compact
    def __call__(self, x):
        return jnp.tanh(nn.Dense(self.size)(x.reshape(x.shape[0], -1)))
""",
    "scaling.py": "def scale(x): return x.astype('float32') / 255",
    "unused.py": "",
}


def test_neighbours_of_an_own_encoder_travel_with_the_features(tmp_path):
    for name, text in WITH_NEIGHBOURS.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
    made = random_features(f"{tmp_path}/mine/mine.py:Own", num_features=5)
    rows = made(observations(3))
    assert np.ptp(rows) > 0
    for attempt in range(2):  # a second time over itself
        assert save_features(tmp_path / "f", made) == ""
        made = load_features(tmp_path / "f")
        assert made.metadata["encoder"] == "encoder/mine.py:Own", attempt
    assert "requires" not in made.metadata
    files = {x.relative_to(tmp_path / "f").as_posix() for x in (tmp_path / "f").rglob("*.py")}
    assert files == {f"encoder/{name}" for name in WITH_NEIGHBOURS} - {"encoder/unused.py"}

    save_features(tmp_path / "g", made)
    shutil.rmtree(tmp_path / "mine")
    shutil.rmtree(tmp_path / "f")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "g").rename(tmp_path / "elsewhere" / "h")
    np.save(tmp_path / "observations.npy", observations(3))
    code = (
        "import numpy as np, pvn\n"
        "rows = pvn.load_features('elsewhere/h')(np.load('observations.npy'))\n"
        "np.save('rows.npy', rows)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows)


def test_a_lost_neighbour_is_named(own, tmp_path):
    own.write_text("import scaling\n" + OWN)
    (own.parent / "scaling.py").write_text("")
    save_features(tmp_path / "f", random_features(f"{own}:FlaxOwn", num_features=5))
    (tmp_path / "f" / "encoder" / "scaling.py").unlink()
    assert_error(
        tmp_path / "f",
        "encoder encoder/own_features.py:FlaxOwn: own_features.py, line 1: ModuleNotFoundError: "
        "No module named 'scaling'",
    )


def test_what_does_not_travel_is_named(own, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(own.parent)
    importlib.invalidate_caches()
    mine = tmp_path / "own_by_name.py"
    mine.write_text("import tqdm\nfrom own_features import FlaxOwn")
    for encoder, saved_as, packages in (
        ("own_features:FlaxOwn", "own_features:FlaxOwn", ["own_features"]),
        (f"{mine}:FlaxOwn", "encoder.py:FlaxOwn", ["own_features", "tqdm"]),
    ):
        line = save_features(tmp_path / "f", random_features(encoder, num_features=5))
        assert line == (
            f"to load these features elsewhere, bring {', '.join(packages)}: encoder {saved_as} "
            "needs it and no copy is included"
        )
        loaded = load_features(tmp_path / "f")
        assert loaded.metadata["requires"] == packages
        assert f"T{line[1:]}." in (tmp_path / "f" / "README.md").read_text()
        assert save_features(tmp_path / "g", loaded) == line
        assert load_features(tmp_path / "g").metadata == loaded.metadata
