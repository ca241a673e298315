import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

import pvn
from pvn.errors import UserError
from pvn.features import Features, load_features, random_features, save_features
from pvn.features import save as module
from pvn.networks.encoders import init_encoder, make_encoder

ROOT = Path(__file__).parents[1]

OWN = """
import flax.linen as nn
import haiku as hk
import jax.numpy as jnp

TRACED = []  # one entry each time that JAX runs the Python of the encoder

def pixels(x):
    TRACED.append(x.shape)
    return x[:, ::21, ::21].reshape(x.shape[0], -1).astype(jnp.float32) / 255

class FlaxOwn(nn.Module):
    num_features: int
    width: int
    dtype: object

    @nn.compact
    def __call__(self, observation):
        x = nn.Dense(7 * self.width)(pixels(observation))
        return nn.Dense(self.num_features)(x)

def HaikuOwn(num_features, width, dtype):
    return hk.transform(lambda x: hk.nets.MLP([7 * width, num_features])(pixels(x)))

class Scaled(FlaxOwn):
    @nn.compact
    def __call__(self, observation):
        temperature = self.param("temperature", nn.initializers.ones, ())
        return nn.Dense(self.num_features)(pixels(observation)) * temperature
"""


def observations(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 84, 84, 4), dtype=np.uint8)


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "mine" / "own_features.py"
    file.parent.mkdir()
    file.write_text(OWN)
    return file


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small features directory, and its output."""
    folder = tmp_path_factory.mktemp("features")
    (folder / "own_features.py").write_text(OWN)
    features = random_features(f"{folder}/own_features.py:FlaxOwn", num_features=5)
    features.metadata |= {"game": "Pong", "protocol": {"stack": 4}}
    save_features(folder / "saved", features)
    return folder / "saved", features(observations(3))


def make_features(encoder, num_features, **metadata):
    """Features with weights from NumPy, which are faster to draw than with JAX."""
    network = make_encoder(encoder, width=1, num_features=num_features)
    shape = jax.ShapeDtypeStruct((1, 84, 84, 4), np.uint8)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: (0.05 * rng.normal(size=leaf.shape)).astype(np.float32),
        jax.eval_shape(network.init, jax.random.key(0), shape),
    )
    metadata |= {"encoder": encoder, "width": 1, "num_features": num_features, "dtype": "float32"}
    return Features(network, params, metadata, batch_size=4)


def assert_same_tree(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), one, other)


# Saving and loading.


@pytest.mark.parametrize("encoder", ["nature", "impala"])
def test_round_trip_bit_for_bit(tmp_path, encoder):
    features = make_features(encoder, num_features=24)
    save_features(tmp_path, features)
    loaded = load_features(tmp_path)
    assert_same_tree(loaded.params, features.params)
    network = make_encoder(encoder, width=1, num_features=24)
    again = Features(network, loaded.params, loaded.metadata, loaded.folder, batch_size=4)
    rows = features(observations(4))
    assert (rows.shape, rows.dtype, loaded.num_features) == ((4, 24), np.float32, 24)
    assert rows.any()
    np.testing.assert_array_equal(again(observations(4)), rows)


def test_what_a_features_directory_says(tmp_path):
    made = make_features("nature", 8, game="Pong", protocol={"stack": 4}, step=3)
    save_features(tmp_path / "deep" / "f", made)
    folder = tmp_path / "deep" / "f"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "features.json", "model.safetensors"
    ]  # fmt: skip
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    expected = {
        "format": "pvn-features", "version": 1, "encoder": "nature", "width": 1,
        "num_features": 8, "dtype": "float32", "game": "Pong", "protocol": {"stack": 4},
        "step": 3, "sha256": digest,
    }  # fmt: skip
    assert json.loads((folder / "features.json").read_text()) == expected
    loaded = load_features(folder)
    assert loaded.metadata == expected
    card = (folder / "README.md").read_text()
    assert "[N, 8]" in card
    assert "| game | Pong |" in card

    # Loaded features can be saved: with the same weights and another card.
    save_features(tmp_path / "copy", loaded, card="# Mine\n")
    assert (tmp_path / "copy" / "README.md").read_text() == "# Mine\n"
    assert load_features(tmp_path / "copy").metadata == expected


def test_safetensors_names(saved):
    tensors = load_file(saved[0] / "model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "Dense_0.kernel": (64, 7), "Dense_0.bias": (7,),
        "Dense_1.kernel": (7, 5), "Dense_1.bias": (5,),
    }  # fmt: skip


def test_run_directory(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "run" / "features")
    np.testing.assert_array_equal(load_features(tmp_path / "run")(observations(3)), saved[1])


@pytest.mark.parametrize("name", ["FlaxOwn", "HaikuOwn"])
def test_own_encoder_travels_with_the_features(own, tmp_path, name):
    made = random_features(f"{own}:{name}", width=2, num_features=5)
    rows = made(observations(3))
    assert rows.any()
    for attempt in range(2):  # a second time over itself
        save_features(tmp_path / "f", made)
        made = load_features(tmp_path / "f")
        assert made.metadata["encoder"] == f"encoder.py:{name}"
        assert attempt or (tmp_path / "f" / "encoder.py").read_text() == OWN
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


# Calling features.


@pytest.fixture(scope="module")
def in_fours():
    return make_features("nature", 16)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_any_number_of_observations(in_fours, count):
    seen = observations(11)
    whole = jax.jit(in_fours.apply)(in_fours.params, seen)
    rows = in_fours(seen[:count])
    assert (rows.shape, rows.dtype) == ((count, 16), np.float32)
    np.testing.assert_allclose(rows, whole[:count], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows, in_fours(seen)[:count])


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


# Untrained features.


def test_random_features_are_a_function_of_the_seed(own):
    name = f"{own}:FlaxOwn"
    first, again, other = (random_features(name, num_features=5, seed=s) for s in (4, 4, 5))
    assert_same_tree(first.params, again.params)
    assert (first(observations(2)) != other(observations(2))).all()
    assert_same_tree(
        first.params, init_encoder(make_encoder(name, width=1, num_features=5), 4)
    )  # as pretraining does


def test_random_features_like_others(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "run" / "features")
    for like in (saved[0], tmp_path / "run"):
        baseline = random_features(like=like, seed=1)
        assert jax.tree.map(np.shape, baseline.params) == jax.tree.map(
            np.shape, load_features(saved[0]).params
        )
        assert baseline.num_features == 5
        assert (baseline(observations(3)) != saved[1]).all()
        assert baseline.metadata == {
            "encoder": "encoder.py:FlaxOwn", "width": 1, "num_features": 5, "dtype": "float32",
            "game": "Pong", "protocol": {"stack": 4},
            "agent": "random_features", "seed": 1, "step": 0,
        }  # fmt: skip


@pytest.mark.parametrize("seed", [-1, 2**31, 2**32, 2**63])
def test_seeds_out_of_range(seed):
    with pytest.raises(UserError) as caught:
        random_features(seed=seed)
    expected = f"seed: {seed}, expected a whole number, from 0 to {2**31 - 1}"
    assert str(caught.value) == expected


def test_random_features_like_random_features(own, tmp_path):
    made = random_features(f"{own}:FlaxOwn", num_features=5)
    save_features(tmp_path / "f", made)
    baseline = random_features(like=tmp_path / "f", seed=0)
    np.testing.assert_array_equal(baseline(observations(2)), made(observations(2)))


# Formats.


def test_older_names_in_a_description(copy):
    edit(copy, protocol=None, observation={"stack": 4}, agent=None, method="pvn")
    loaded = load_features(copy)
    assert (loaded.metadata["agent"], loaded.metadata["protocol"]) == ("pvn", {"stack": 4})
    assert {"method", "observation"}.isdisjoint(loaded.metadata)
    assert random_features(like=copy).metadata["protocol"] == {"stack": 4}
    save_features(copy, loaded)
    written = json.loads((copy / "features.json").read_text())
    assert written == loaded.metadata


def test_scalar_parameters(own, tmp_path):
    made = random_features(f"{own}:Scaled", num_features=5)
    save_features(tmp_path / "f", made)
    loaded = load_features(tmp_path / "f")
    np.testing.assert_array_equal(loaded(observations(2)), made(observations(2)))


def replace_weights(folder, raw):
    (folder / "model.safetensors").write_bytes(raw)
    edit(folder, sha256=hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("bfloat16", "BF16"), ("float16", "F16"), ("float64", "F64"), ("int32", "I32")],
)
def test_weights_of_another_type(copy, dtype, name):
    file = copy / "model.safetensors"
    tensors = load_file(file)
    tensors["Dense_1.bias"] = np.asarray(jax.numpy.zeros(5, "bfloat16")).astype(dtype)
    replace_weights(copy, save(tensors))
    with pytest.raises(UserError) as caught:
        load_features(copy)
    assert str(caught.value) == f"features {file}: parameter Dense_1.bias is {name}, expected F32"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "header too small"),
        (b"\xff" * 40, "header too large"),
        (b"\x0a" + bytes(7) + b"not JSON  ", "invalid JSON in header: "),
        (b"\x02" + bytes(7) + b"{}" + bytes(4), "incomplete metadata, file not fully covered"),
    ],
)
def test_a_bad_header(copy, raw, text):
    replace_weights(copy, raw)
    with pytest.raises(UserError) as caught:
        load_features(copy)
    (line,) = str(caught.value).splitlines()
    place = f"features {copy}/model.safetensors: is not a safetensors file ("
    assert line.startswith(place + text)


# Damaged files.


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data())
def test_a_flipped_bit_in_the_weights(saved, data):
    file = saved[0] / "model.safetensors"
    raw = file.read_bytes()
    damaged = bytearray(raw)
    damaged[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(damaged)
    try:
        with pytest.raises(UserError) as caught:
            load_features(saved[0])
        assert str(caught.value) == (
            f"features {file}: is corrupt: its SHA-256 is not that in features.json"
        )
    finally:
        file.write_bytes(raw)


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved[0], tmp_path / "copy"))


def edit(folder, **fields):
    file = folder / "features.json"
    metadata = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))


def assert_error(folder, text):
    for function in (load_features, lambda path: random_features(like=path)):
        with pytest.raises(UserError) as caught:
            function(folder)
        assert str(caught.value) == text


def test_weights_cut_short(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="is corrupt: its SHA-256 is not that in"):
        load_features(copy)


def test_no_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError) as caught:
        load_features(copy)
    assert str(caught.value) == f"features {copy}/model.safetensors: No such file or directory"


def test_newer_version(copy):
    edit(copy, version=2)
    assert_error(
        copy,
        f"features {copy}/features.json: format version 2 is newer than 1, the newest this pvn "
        "reads; upgrade pvn",
    )


def test_foreign_format(copy):
    edit(copy, format="other")
    assert_error(copy, f"features {copy}/features.json: format 'other', expected pvn-features")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", b"3"])
def test_foreign_description(copy, raw):
    (copy / "features.json").write_bytes(raw)
    assert_error(copy, f"features {copy}/features.json: is not a pvn-features description")


def test_nothing_there(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name in ("gone", "file", "empty"):
        assert_error(
            tmp_path / name,
            f"features {tmp_path / name}: no features.json there or in its features/; "
            "python -m pvn.pretrain writes one",
        )


def test_own_encoder_is_gone(copy):
    (copy / "encoder.py").unlink()
    assert_error(copy, f"encoder encoder.py:FlaxOwn: there is no file {copy}/encoder.py")


def test_description_comes_last(saved, tmp_path, monkeypatch):
    # An interrupted save leaves no features that can be loaded.
    features = load_features(saved[0])

    def die(file, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", die)
    with pytest.raises(KeyboardInterrupt):
        save_features(tmp_path / "f", features)
    assert (tmp_path / "f" / "model.safetensors").is_file()
    with pytest.raises(UserError, match=r"no features\.json"):
        load_features(tmp_path / "f")


@pytest.mark.parametrize("change", [{"num_features": 6}, {"width": 2}, {"encoder": "nature"}])
def test_weights_that_do_not_fit(copy, change):
    edit(copy, **change)
    with pytest.raises(UserError):
        load_features(copy)


@pytest.mark.parametrize("field", ["version", "sha256", "encoder", "num_features"])
def test_description_lacks_a_field(copy, field):
    edit(copy, **{field: None})
    with pytest.raises(UserError):
        load_features(copy)


# The names in the package pvn.


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
    base = ["errors", "features", "fields", "files", "neighbours", "networks", "paths", "plugins"]
    base.append("remote")  # without tensorstore
    assert ours == str([f"pvn.{name}" for name in base])
