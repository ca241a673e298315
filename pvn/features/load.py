"""Loads features from a directory."""

from collections.abc import Sequence
from pathlib import Path

import jax

from pvn.errors import UserError
from pvn.features.description import FILES, encoder_of, read_description
from pvn.features.features import Features
from pvn.features.observation import shape_of
from pvn.features.tensors import flatten, read_tensors, read_verified, unflatten
from pvn.features.untrained import random_features
from pvn.networks.encoders import init_encoder
from pvn.storage import remote
from pvn.types import ATARI


def load_features(path: str | Path) -> Features:
    """Loads the features of a run directory or of a features directory.

    Args:
      path: a directory, local or `gs://bucket/path`. The code in it (`encoder.py` or `encoder/`) is
        executed: load only features from sources that you trust.

    Raises:
      UserError: there are no features, their format is newer, the weights are corrupt or do not fit
        the architecture, or the user's own encoder does not load; the server of `gs://` refuses.
    """
    with remote.reading(path, *FILES, "model.safetensors") as local:
        return _load_local(local, path)


def _load_local(path: Path, source: str | Path) -> Features:
    folder, metadata = read_description(path)
    file = folder / "model.safetensors"
    params = read_tensors(file, read_verified(file, metadata["sha256"]))
    network = encoder_of(metadata, folder)
    expected = flatten(jax.eval_shape(lambda: init_encoder(network, 0, shape_of(metadata))))
    for name in sorted(params.keys() | expected.keys()):
        shapes = [tree[name].shape if name in tree else None for tree in (params, expected)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"features {file}: parameter {name} has shape {shapes[0]}, but "
                f"{metadata['encoder']} with width {metadata['width']} and "
                f"{metadata['num_features']} features, as in features.json, has {shapes[1]}"
            )
    return Features(network, unflatten(params), metadata, folder, source=source)


def resolve_features(
    name: str,
    like: str | None = None,
    seed: int = 0,
    observation_shape: Sequence[int] = ATARI.shape,
    encoder: str | None = None,
) -> Features:
    """The features that the flags of a command describe.

    Args:
      name: the value of --features: `random` (untrained), or a run or features directory.
      like: the value of --like, for `random` only: a run or features directory whose architecture
        is copied; None or empty for the default architecture.
      seed: seed of random weights.
      observation_shape, encoder: of random features without `like` (see `random_features`).

    Raises:
      UserError: `like` is given with features that are not random, or the features cannot be made
        or loaded (see `random_features` and `load_features`).
    """
    if name == "random":
        return random_features(
            encoder, seed=seed, observation_shape=observation_shape, like=like or None
        )
    if like:
        raise UserError(f"--like={like}: goes with --features=random, not with {name}")
    return load_features(name)
