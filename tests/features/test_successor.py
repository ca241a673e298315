"""The second file of features: heads and tasks."""

import json
import shutil
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest
from safetensors.numpy import load_file, save

from configs import pretrain
from pvn.errors import UserError
from pvn.features import load_features, save_features
from pvn.features.check import check_features
from pvn.features.successor import Successor, Task, load_successor
from pvn.indicators.registry import INDICATORS, find_family, make_indicator
from pvn.indicators.responses import compute_responses
from pvn.indicators.tasks import Tasks
from pvn.learning.optimizers import make_optimizer
from pvn.learning.train_step import init_train_state
from pvn.pretraining.experiment import FIELDS, keys_of, prepare
from pvn.pretraining.recorder import export
from pvn.pretraining.training import objective_of
from pvn.runs import config as cfg
from pvn.storage.files import sha256
from pvn.types import ATARI
from tests.features.support import OWN, assert_same_tree, make_features, observations
from tests.observations import EXAMPLE

OWN_INDICATOR = """
from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np

from pvn.fields import wholes
from pvn.indicators.indicator import Indicator

class Bright(NamedTuple):
    levels: Annotated[tuple, wholes(0)] = (100, 150)

    def indicator(self, num_tasks):
        def init(key, observation):
            # NumPy needs the key's value: this function cannot be traced.
            random = np.random.default_rng(np.asarray(key_data(key)))
            place = random.integers(0, 84, num_tasks)
            return {"place": place, "scale": 2.0}, {"shift": np.float32(1)}

        def response(frozen, x):
            return x[:, frozen["place"], 0, 0].astype(jnp.float32) * frozen["scale"]

        def cumulant(fitted, response):
            low, high = self.levels
            u = response + fitted["shift"]
            return ((u > low) & (u < high)).astype(jnp.float32)

        return Indicator(num_tasks, init, response, cumulant)

from jax.random import key_data
from tests.observations import EXAMPLE
"""


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A tiny experiment on real frames: (experiment, tasks, state, features directory)."""
    config = pretrain.get_config()
    workdir = tmp_path_factory.mktemp("run")
    (workdir / "own.py").write_text(OWN)
    config.update(dataset=str(dataset), num_features=24, num_tasks=7, num_devices=1)
    config.update(encoder=f"{workdir}/own.py:FlaxOwn", feature_norm="layer_norm")
    config.update(indicator="random_network", cumulants="raw")
    config.random_network.tasks_per_network = 7
    family, settings = find_family(config.indicator)
    checked = cfg.check_config(config, FIELDS | INDICATORS | {family: settings})
    e = prepare(checked, family, settings)
    params_key, tasks_key = keys_of(config.seed)
    frozen, _ = e.indicator.init(tasks_key, e.example)
    responses = compute_responses(e.indicator, frozen, e.transitions, np.arange(256))
    tasks = Tasks(e.indicator, (), e.indicator.fit(responses), responses, responses)
    params = jax.jit(e.network.init)(params_key, observations(1))
    random = np.random.default_rng(1)
    params["heads"]["bias"] = random.normal(size=(4, 7)).astype(np.float32)
    sgd = make_optimizer("sgd", learning_rate=1.0, epsilon=1e-8, max_gradient_norm=0.0)
    state = init_train_state(objective_of(e, e.indicator, None), params, tasks.fitted, sgd, sgd)
    export(e, state, "fingerprint", workdir)
    return e, tasks, state, workdir / "features"


def test_the_last_layer_of_an_own_encoder_is_not_that_of_the_config(trained):
    assert load_features(trained[3]).metadata["feature_norm"] == "none"


def test_heads_are_those_of_the_training_network(trained):
    e, _, state, folder = trained
    seen = e.transitions.observations(np.arange(40, 50))
    features = load_features(folder)
    successor = features.successor
    assert features.successor is successor
    q = np.einsum("nf,fta->nta", features(seen), successor.head_kernel)
    q += successor.head_bias[None]
    values = jax.jit(e.network.action_values)
    actions = [np.full(10, action) for action in range(4)]
    expected = np.stack([values(state.params, seen, each) for each in actions], axis=2)
    assert (q.shape, np.ptp(expected) > 0.1) == ((10, 7, 4), True)
    np.testing.assert_allclose(q, expected, rtol=1e-5, atol=1e-5)
    assert successor.discount.tolist() == [np.float32(0.95)] * 7


def test_cumulants_are_those_of_training_bit_for_bit(trained):
    e, tasks, _, folder = trained
    successor = load_successor(folder.parent)  # a run directory
    expected = tasks.cumulants(tasks.responses)
    seen = e.transitions.observations(np.arange(256))
    found = successor.cumulants(seen)
    assert found.dtype == np.float32
    assert 0 < found.mean() < 1
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(successor.cumulants(seen[7:8]), expected[7:8])
    assert successor.cumulants(seen[:0]).shape == (0, 7)
    with pytest.raises(UserError, match="expected uint8"):
        successor.cumulants(seen[0])


def test_what_the_file_holds(trained):
    folder = trained[3]
    shapes = {k: v.shape for k, v in load_file(folder / "successor.safetensors").items()}
    assert shapes["heads.kernel"] == (24, 7, 4)
    assert shapes["heads.bias"] == (7, 4)
    assert shapes["fitted"] == (7,)
    assert shapes["frozen.0.linear.w"] == (7744, 7)
    entry = json.loads((folder / "features.json").read_text())["successor"]
    assert {key: entry[key] for key in ("num_tasks", "num_actions", "indicator", "loss")} == {
        "num_tasks": 7, "num_actions": 4, "indicator": "random_network", "loss": "td",
    }  # fmt: skip
    assert entry["settings"]["tasks_per_network"] == 7


def test_it_is_an_option(trained, tmp_path):
    e, _, state, folder = trained
    shutil.copytree(folder, tmp_path / "features")
    config = ml_collections.ConfigDict(e.config)
    config.export_successor = False
    export(
        e._replace(config=ml_collections.FrozenConfigDict(config)), state, "fingerprint", tmp_path
    )
    assert not (tmp_path / "features" / "successor.safetensors").exists()
    features = load_features(tmp_path)
    with pytest.raises(UserError) as caught:
        features.successor  # noqa: B018
    assert str(caught.value) == (
        f"features {tmp_path}/features: have no successor.safetensors with heads and tasks; "
        "python -m pvn.pretrain --config.export_successor=True writes it"
    )


@pytest.fixture
def small(saved):
    """(features, make): small features, and a successor for them from a family's name."""
    features = load_features(saved[0])

    def make(name, folder=".", **settings):
        indicator = make_indicator(name, find_family(name, folder)[1](**settings), 6)
        random = np.random.default_rng(0)
        frozen, fitted = indicator.init(jax.random.key(3), EXAMPLE)
        kernel = random.normal(size=(5, 6, 3)).astype(np.float32)
        task = Task(name, settings, [0.9], "td", "uniform")
        return Successor(kernel, kernel[0], indicator, frozen, fitted, task, ATARI.shape, folder)

    return features, make


def test_another_family(small, tmp_path):
    features, make = small
    made = make("random_hash")
    save_features(tmp_path, features, successor=made)
    loaded = load_features(tmp_path).successor
    assert loaded.task == made.task
    assert_same_tree(loaded.frozen, jax.tree.map(np.asarray, made.frozen))
    assert_same_tree(loaded.head_kernel, made.head_kernel)
    np.testing.assert_array_equal(
        loaded.cumulants(observations(3)), made.cumulants(observations(3))
    )


def test_an_own_indicator_travels_with_its_code(small, tmp_path):
    features, make = small
    file = tmp_path / "mine.py"
    file.write_text(OWN_INDICATOR)
    made = make(f"{file}:Bright", levels=(60, 400))
    expected = made.cumulants(observations(4))
    assert 0 < expected.mean() < 1
    save_features(tmp_path / "f", features, successor=made)
    file.unlink()
    loaded = load_successor(tmp_path / "f")
    assert loaded.task.indicator == "indicator.py:Bright"
    np.testing.assert_array_equal(loaded.cumulants(observations(4)), expected)


def test_parameters_that_are_not_numbers(small, tmp_path):
    features, make = small
    made = make("random_hash")
    made.frozen = {"key": jax.random.key(0)}
    with pytest.raises(UserError) as caught:
        save_features(tmp_path / "f", features, successor=made)
    assert str(caught.value) == (
        "features: parameter frozen.key of indicator random_hash is key<fry>, expected NumPy's "
        "numbers; --config.export_successor=False leaves the heads out"
    )
    assert not (tmp_path / "f" / "features.json").exists()


def edit_entry(folder, **fields):
    metadata = json.loads((folder / "features.json").read_text())
    metadata["successor"] |= fields
    (folder / "features.json").write_text(json.dumps(metadata))


@pytest.fixture
def copied(small, tmp_path):
    features, make = small
    (tmp_path / "mine.py").write_text(OWN_INDICATOR)
    made = make(f"{tmp_path}/mine.py:Bright")
    save_features(tmp_path / "f", features, successor=made)
    return Path(tmp_path / "f")


HEADS = r"parameter heads.bias is float32 \[6, 3\], expected float32 \[6, 4\]"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"sha256": "0"}, "is corrupt: its SHA-256 is not that in features.json"),
        ({"indicators_version": 1}, "its indicators are of version 1, this pvn computes those of"),
        ({"num_actions": 4}, HEADS),
        ({"num_tasks": 5}, r"parameter frozen.place is int64 \[6\], expected int64 \[5\]"),
    ],
)
def test_damage_is_one_line(copied, fields, text):
    edit_entry(copied, **fields)
    with pytest.raises(UserError, match=text) as caught:
        load_successor(copied)
    assert str(caught.value).startswith(f"features {copied}/successor.safetensors: ")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"discount": None}, "field 'discount' is null, expected a list"),
        ({"num_tasks": "6"}, "field 'num_tasks' is \"6\", expected a whole number"),
        ({"num_actions": 0}, "num_actions: 0, expected a whole number, 1 or more"),
        ({"settings": []}, "field 'settings' is [], expected an object"),
        ({"settings": {"nothing": 3}}, "setting nothing of indicator indicator.py:Bright: there"),
        ({"settings": {"levels": 3}}, "setting levels of indicator indicator.py:Bright: 3, exp"),
    ],
)
def test_a_damaged_entry_is_one_line(copied, fields, text):
    edit_entry(copied, **fields)
    with pytest.raises(UserError) as caught:
        load_successor(copied)
    assert str(caught.value).startswith(f"features {copied}/features.json: {text}")
    faults = [finding.text for finding in check_features(copied) if finding.is_fault]
    assert faults == [str(caught.value)]


@pytest.mark.parametrize("field", ["indicators_version", "indicator", "target_policy"])
def test_an_entry_lacks_a_field(copied, field):
    metadata = json.loads((copied / "features.json").read_text())
    del metadata["successor"][field]
    (copied / "features.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError) as caught:
        load_successor(copied)
    assert str(caught.value) == f"features {copied}/features.json: lacks the field {field!r}"


def test_a_tensor_is_missing(copied):
    file = copied / "successor.safetensors"
    tensors = load_file(file)
    del tensors["heads.kernel"]
    file.write_bytes(save(tensors))
    edit_entry(copied, sha256=sha256(file))
    with pytest.raises(UserError, match=r"parameter heads\.kernel is none, expected float32"):
        load_successor(copied)


def test_heads_of_other_weights(copied):
    features = load_features(copied)
    metadata = json.loads((copied / "features.json").read_text())
    (copied / "features.json").write_text(json.dumps(metadata | {"sha256": "0"}))
    with pytest.raises(UserError, match="have changed since they were loaded; load again"):
        features.successor  # noqa: B018


def test_features_from_no_directory_have_no_heads():
    with pytest.raises(UserError, match="they were not loaded from a directory"):
        make_features("nature", 2).successor  # noqa: B018
