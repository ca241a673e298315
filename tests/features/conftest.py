"""Features directories that several tests share."""

import shutil
from pathlib import Path

import pytest

from pvn.features import random_features, save_features
from tests.features.support import OWN, observations


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "mine" / "own_features.py"
    file.parent.mkdir()
    file.write_text(OWN)
    return file


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A small features directory, and its output."""
    folder = tmp_path_factory.mktemp("features")
    (folder / "own_features.py").write_text(OWN)
    features = random_features(f"{folder}/own_features.py:FlaxOwn", num_features=5)
    features.metadata |= {"game": "Pong", "protocol": {"stack": 4}}
    save_features(folder / "saved", features)
    return folder / "saved", features(observations(3))


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved[0], tmp_path / "copy"))
