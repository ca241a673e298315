"""What people share: learned features as a callable on uint8 observations.

    features = pvn.load_features("runs/pong")
    features(observations)  # uint8 [N, 84, 84, 4] -> float32 [N, F]

A features directory holds `model.safetensors` (the encoder's weights), `features.json` (the
architecture, the observation protocol, where it comes from), a model card, and the person's own
`encoder.py` if the encoder is one. It loads without Orbax, an emulator or the training code.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pvn.errors import UserError
from pvn.fields import check_seed
from pvn.files import read_text, write_json, write_whole
from pvn.networks.network import (
    OBSERVATION_SHAPE,
    Network,
    Params,
    init_encoder,
    make_encoder,
)
from pvn.plugins import plugin_file

FORMAT = "pvn-features"
VERSION = 1

_ARCHITECTURE = ("encoder", "width", "num_features", "dtype")


class Features:
    """A frozen encoder: call it with uint8 [N, 84, 84, 4], any N, to get float32 [N, F].

    `metadata` is what features.json says; `params` and `apply(params, observation)` are there for
    use inside a program of one's own under `jit`.
    """

    def __init__(
        self,
        encoder: Network,
        params: Params,
        metadata: Mapping[str, Any],
        folder: str | Path = ".",
        batch_size: int = 128,
    ):
        """`metadata` names the architecture; `folder` is where a file it names is found."""
        self.params, self.apply = params, encoder.apply
        self.metadata = dict(metadata)
        self.folder = Path(folder)
        self._jitted = jax.jit(self.apply)
        self._batch_size = batch_size

    @property
    def num_features(self) -> int:
        """F."""
        return int(self.metadata["num_features"])

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """float32 [N, F]. Works in batches of one fixed size, so it compiles once.

        Raises:
          UserError: not uint8, or not [N, 84, 84, 4].
        """
        check_observation(observation)
        out = np.empty((len(observation), self.num_features), np.float32)
        for start in range(0, len(observation), self._batch_size):
            batch = np.asarray(observation[start : start + self._batch_size])
            count = len(batch)
            if count < self._batch_size:
                padding = np.zeros((self._batch_size - count, *OBSERVATION_SHAPE), np.uint8)
                batch = np.concatenate([batch, padding])
            out[start : start + count] = self._jitted(self.params, batch)[:count]
        return out


def check_observation(observation: Any) -> None:
    """Raises `UserError` unless uint8 [N, 84, 84, 4]."""
    shape, dtype = np.shape(observation), getattr(observation, "dtype", type(observation))
    if len(shape) != 4 or shape[1:] != OBSERVATION_SHAPE or dtype != np.uint8:
        raise UserError(
            f"observations are {dtype} {list(shape)}, expected uint8 [N, 84, 84, 4] "
            "(unscaled, newest frame last)"
        )


def random_features(
    encoder: str = "nature",
    *,
    width: int = 1,
    num_features: int = 512,
    dtype: str = "float32",
    seed: int = 0,
    like: str | Path | None = None,
) -> Features:
    """The same architecture untrained: the baseline that learned features have to beat.

    Args:
      encoder, width, num_features, dtype: as in the config of `pvn.pretrain`.
      seed: of the weights.
      like: a run or features directory to take the architecture from instead.

    Raises:
      UserError: no such encoder; `like` holds no features; a seed out of range.
    """
    check_seed(seed)
    folder: Path = Path(".")
    metadata: dict[str, Any]
    if like is not None:
        folder, metadata = _read_metadata(like)
        kept = (*_ARCHITECTURE, "observation", "game", "num_actions")
        metadata = {key: metadata[key] for key in kept if key in metadata}
    else:
        metadata = dict(encoder=encoder, width=width, num_features=num_features, dtype=dtype)
    network = _make_encoder(metadata, folder)
    metadata |= {"method": "random_features", "seed": seed, "step": 0}
    return Features(network, init_encoder(network, seed), metadata, folder)


def resolve_features(name: str, like: str | None = None, seed: int = 0) -> Features:
    """The features that a command's `--features`, `--like` and seed name.

    Args:
      name: `random` (untrained), or a run or features directory.
      like: with `random`: a run or features directory whose architecture to take; None or empty
        for the default one.
      seed: of random weights.

    Raises:
      UserError: `like` is given with features that are not random; as `random_features` and
        `load_features`.
    """
    if name == "random":
        return random_features(like=like or None, seed=seed)
    if like:
        raise UserError(f"--like={like}: goes with --features=random, not with {name}")
    return load_features(name)


def load_features(path: str | Path) -> Features:
    """Loads the features of a run directory or of a features directory.

    Args:
      path: local directory. An `encoder.py` in it is executed: it is a person's own encoder, so
        load only what you trust as you would trust code.

    Raises:
      UserError: no features there; a newer format; weights that are corrupt or do not fit.
    """
    folder, metadata = _read_metadata(path)
    file = folder / "model.safetensors"
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"features {file}: {error.strerror}") from None
    if hashlib.sha256(raw).hexdigest() != metadata["sha256"]:
        raise UserError(f"features {file}: is corrupt: its SHA-256 is not that in features.json")
    params = load_tensors(raw)
    network = _make_encoder(metadata, folder)
    expected = _flatten(jax.eval_shape(lambda: init_encoder(network, 0)), leaf=lambda x: x)
    for name in sorted(params.keys() | expected.keys()):
        shapes = [tree[name].shape if name in tree else None for tree in (params, expected)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"features {file}: parameter {name} has shape {shapes[0]}, but "
                f"{metadata['encoder']} with width {metadata['width']} and "
                f"{metadata['num_features']} features, as in features.json, has {shapes[1]}"
            )
    return Features(network, _unflatten(params), metadata, folder)


def save_features(path: str | Path, features: Features, card: str | None = None) -> None:
    """Writes a features directory; `features.json`, which makes it count, comes last.

    Args:
      path: made if it is not there.
      features: what to save; `metadata` should hold game, dataset and so on.
      card: the model card, Markdown; None for a short one.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = dict(features.metadata)
    own = plugin_file(metadata["encoder"])
    if own is not None:
        target = folder / "encoder.py"
        if (features.folder / own).resolve() != target.resolve():
            shutil.copyfile(features.folder / own, target)
        metadata["encoder"] = "encoder.py:" + metadata["encoder"].rpartition(":")[2]
    raw = save_tensors(_flatten(features.params))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        **metadata,
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    write_whole(folder / "model.safetensors", raw)
    write_whole(folder / "README.md", card or _card(metadata))
    write_json(folder / "features.json", metadata)


def weights_sha256(features: Features) -> str:
    """SHA-256 of the weights as they are or would be saved, in hexadecimal."""
    known = features.metadata.get("sha256")
    return known or hashlib.sha256(save_tensors(_flatten(features.params))).hexdigest()


def _card(metadata: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {key} | {value} |"
        for key, value in metadata.items()
        if isinstance(value, str | int | float)
    )
    return (
        "# Features\n\nA frozen encoder of Atari observations, uint8 [N, 84, 84, 4] (unscaled, "
        f"newest frame last) to float32 [N, {metadata['num_features']}].\n\n"
        '```python\nimport pvn\nfeatures = pvn.load_features("this/directory")\n```\n\n'
        f"| | |\n|---|---|\n{rows}\n"
    )


def _make_encoder(metadata: Mapping[str, Any], folder: Path) -> Network:
    architecture = {key: metadata[key] for key in _ARCHITECTURE}
    return make_encoder(architecture.pop("encoder"), folder=folder, **architecture)


def _read_metadata(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The features directory at or under `path`, and what its features.json says."""
    for folder in (Path(path), Path(path) / "features"):
        file = folder / "features.json"
        if not file.is_file():
            continue
        try:
            metadata = dict(json.loads(read_text(file)))
            known, version = metadata["format"], int(metadata["version"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"features {file}: is not a {FORMAT} description") from None
        if known != FORMAT:
            raise UserError(f"features {file}: format {known!r}, expected {FORMAT}")
        if version > VERSION:
            raise UserError(
                f"features {file}: format version {version} is newer than {VERSION}, "
                "the newest this pvn reads; upgrade pvn"
            )
        for key in (*_ARCHITECTURE, "sha256"):
            if key not in metadata:
                raise UserError(f"features {file}: lacks the field {key!r}")
        return folder, metadata
    raise UserError(
        f"features {path}: no features.json there or in its features/; "
        "python -m pvn.pretrain writes one"
    )


def _flatten(
    params: Mapping[str, Any],
    prefix: str = "",
    leaf: Callable[[Any], Any] = lambda x: np.asarray(x, order="C"),
) -> dict[str, Any]:
    """Nested parameters as `a.b.c -> leaf`; module names hold no dot."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.", leaf)
        else:
            flat[prefix + key] = leaf(value)
    return flat


def _unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        inner = nested
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[leaf] = value
    return nested
