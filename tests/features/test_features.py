"""Calling features, and the names in the package pvn."""

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import pvn
from pvn.errors import UserError
from pvn.features import Features, load_features, random_features
from pvn.features import features as module
from tests.features.support import make_features, observations

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def nature():
    return make_features("nature", 16)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_any_number_of_observations(nature, count, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 4)
    seen = observations(11)
    whole = jax.jit(nature.apply)(nature.params, seen)
    rows = nature(seen[:count])
    assert (rows.shape, rows.dtype) == ((count, 16), np.float32)
    np.testing.assert_allclose(rows, whole[:count], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows, nature(seen)[:count])


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129])
def test_any_number_of_observations_at_the_usual_batch(saved, count):
    features = load_features(saved[0])
    seen = observations(129)
    np.testing.assert_array_equal(features(seen[:count]), features(seen)[:count])
    flat = seen[:, ::21, ::21].reshape(129, -1).astype(np.float32) / 255
    for layer in ("Dense_0", "Dense_1"):
        flat = flat @ features.params[layer]["kernel"] + features.params[layer]["bias"]
    np.testing.assert_allclose(features(seen[:count]), flat[:count], rtol=1e-4, atol=1e-5)


def test_compiled_once(own, monkeypatch):
    monkeypatch.syspath_prepend(own.parent)
    importlib.invalidate_caches()
    features = random_features("own_features:FlaxOwn", num_features=5)
    traced = importlib.import_module("own_features").TRACED
    traced.clear()
    for count in (5, 1, 0, 128, 300):
        features(observations(count))
    assert traced == [(128, 84, 84, 4)]


def test_weights_are_put_on_the_device_once(saved, monkeypatch):
    features = load_features(saved[0])
    put, device_put = [], jax.device_put
    monkeypatch.setattr(jax, "device_put", lambda x: put.append(x) or device_put(x))
    used, jitted = [], features._jitted
    monkeypatch.setattr(features, "_jitted", lambda p, x: used.append(p) or jitted(p, x))
    for count in (3, 300):
        features(observations(count))
    assert len(put) == 1
    assert put[0] is features.params
    assert len(used) == 4
    assert all(params is features.device_params for params in used)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(used[0]))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(features.params))


def test_jax_arrays_are_observations_too(saved):
    features = load_features(saved[0])
    np.testing.assert_array_equal(features(jax.numpy.asarray(observations(3))), saved[1])


WANTED = "expected uint8 [N, 84, 84, 4] (unscaled, newest frame last)"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (np.zeros((2, 84, 84, 4), np.float32), "float32 [2, 84, 84, 4]"),
        (np.zeros((2, 84, 84, 4), np.int64), "int64 [2, 84, 84, 4]"),
        (np.zeros((84, 84, 4), np.uint8), "uint8 [84, 84, 4]"),
        (np.zeros((2, 4, 84, 84), np.uint8), "uint8 [2, 4, 84, 84]"),
        (np.zeros((2, 84, 84, 1), np.uint8), "uint8 [2, 84, 84, 1]"),
        (np.zeros((0,), np.uint8), "uint8 [0]"),
        ([1, 2], "<class 'list'> [2]"),
    ],
)
def test_wrong_observations_are_refused(saved, wrong, text):
    with pytest.raises(UserError) as caught:
        load_features(saved[0])(wrong)
    assert str(caught.value) == f"observations are {text}, {WANTED}"


def test_names_of_the_package():
    assert pvn.load_features is load_features
    assert pvn.random_features is random_features
    assert pvn.Features is Features
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        pvn.nothing  # noqa: B018


def test_loading_imports_no_more_than_it_needs(saved):
    code = """
import sys
import numpy as np
import pvn
assert "jax" not in sys.modules
rows = pvn.load_features(sys.argv[1])(np.zeros((1, 84, 84, 4), np.uint8))
assert rows.shape == (1, 5)
roots = {name.partition(".")[0] for name in sys.modules}
ours = {".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("pvn.")}
print(sorted(roots & {"orbax", "optax", "tensorstore", "ale_py", "gymnasium", "tensorboardX",
                      "matplotlib", "ml_collections", "torch", "tensorflow"}))
print(sorted(ours))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved[0])],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    unwanted, ours = done.stdout.splitlines()
    assert unwanted == "[]"
    base = ["errors", "features", "fields", "neighbours", "networks", "plugins", "storage", "types"]
    assert ours == str([f"pvn.{name}" for name in base])
