"""Untrained features."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.features import load_features, random_features, save_features
from pvn.networks.encoders import init_encoder, make_encoder
from tests.features.support import assert_same_tree, observations

ROOT = Path(__file__).parents[2]


def test_random_features_are_a_function_of_the_seed(own):
    name = f"{own}:FlaxOwn"
    first, again, other = (random_features(name, num_features=5, seed=s) for s in (4, 4, 5))
    assert_same_tree(first.params, again.params)
    kernels = [features.params["Dense_0"]["kernel"] for features in (first, other)]
    assert (kernels[0] != kernels[1]).all()
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
            "observation_shape": [84, 84, 4], "game": "Pong", "protocol": {"stack": 4},
            "agent": "random_features", "seed": 1, "step": 0,
            "feature_norm": "none", "feature_activation": "relu",
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
    assert_same_tree(baseline.params, made.params)
