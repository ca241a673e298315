"""Writing features directories, and reading them again."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from pvn.errors import UserError
from pvn.features import Features, load_features, random_features, save_features
from pvn.features import save as module
from pvn.features.tensors import flatten, unflatten
from pvn.networks.network import Network
from tests.features.support import (
    assert_same_tree,
    make_features,
    observations,
)

ROOT = Path(__file__).parents[2]


def test_round_trip_bit_for_bit(tmp_path):
    features = make_features("nature", num_features=24)
    save_features(tmp_path, features)
    loaded = load_features(tmp_path)
    assert_same_tree(loaded.params, features.params)
    again = Features(Network(None, features.apply), loaded.params, loaded.metadata)
    rows = features(observations(4))
    assert (rows.shape, rows.dtype, loaded.num_features) == ((4, 24), np.float32, 24)
    assert rows.any()
    np.testing.assert_array_equal(again(observations(4)), rows)


def test_names_of_nested_parameters():
    params = make_features("impala", num_features=8).params
    flat = flatten(params)
    assert len(flat) == len(jax.tree.leaves(params)) > 20
    assert_same_tree(unflatten(flat), params)


def test_what_a_features_directory_says(tmp_path):
    made = make_features("nature", 8, game="Pong", protocol={"stack": 4}, step=3)
    save_features(tmp_path / "deep" / "f", made)
    folder = tmp_path / "deep" / "f"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "features.json", "model.safetensors", "sample.safetensors"
    ]  # fmt: skip
    digests = [
        hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
        for name in ("model", "sample")
    ]
    expected = {
        "format": "pvn-features", "version": 1, "encoder": "nature", "width": 1,
        "num_features": 8, "dtype": "float32", "observation_shape": [84, 84, 4],
        "game": "Pong", "protocol": {"stack": 4}, "step": 3,
        "sha256": digests[0], "sample_sha256": digests[1],
    }  # fmt: skip
    assert json.loads((folder / "features.json").read_text()) == expected
    loaded = load_features(folder)
    last_layer = {"feature_norm": "none", "feature_activation": "relu"}
    assert loaded.metadata == expected | last_layer
    card = (folder / "README.md").read_text()
    assert "[N, 8]" in card
    assert "# Features of Pong" in card
    assert digests[0] in card

    # Loaded features can be saved.
    save_features(tmp_path / "copy", loaded)
    assert load_features(tmp_path / "copy").metadata == expected | last_layer


def test_safetensors_names(saved):
    tensors = load_file(saved[0] / "model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "Dense_0.kernel": (64, 7), "Dense_0.bias": (7,),
        "Dense_1.kernel": (7, 5), "Dense_1.bias": (5,),
    }  # fmt: skip


def test_run_directory(saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "run" / "features")
    np.testing.assert_array_equal(load_features(tmp_path / "run")(observations(3)), saved[1])


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


def test_scalar_parameters(own, tmp_path):
    made = random_features(f"{own}:Scaled", num_features=5)
    save_features(tmp_path / "f", made)
    loaded = load_features(tmp_path / "f")
    np.testing.assert_array_equal(loaded(observations(2)), made(observations(2)))
