"""Learned features: a callable on uint8 observations, and the directory that stores it.

    features = pvn.load_features("runs/pong")
    features(observations)  # uint8 [N, 84, 84, 4] -> float32 [N, F]

A features directory holds `model.safetensors` (the encoder's weights), `features.json` (the
architecture, the protocol of the observations, the origin of the features) and a model card. For a
user's own encoder it also holds `encoder.py`, or a folder `encoder/` if that file imports files
beside it. A features directory can be loaded without Orbax, an emulator or the training code.
"""

import functools
import hashlib
import json
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_tensors

from pvn import remote
from pvn.errors import UserError
from pvn.fields import check_seed
from pvn.files import read_text, write_json, write_whole
from pvn.neighbours import read_source
from pvn.networks.encoders import OBSERVATION_SHAPE, init_encoder, make_encoder
from pvn.networks.mapping import map_states
from pvn.networks.network import Network, Params
from pvn.paths import make_folder
from pvn.plugins import plugin_sources

FORMAT = "pvn-features"
VERSION = 1

_ARCHITECTURE = ("encoder", "width", "num_features", "dtype")
_FILES = ("features.json", "model.safetensors", "encoder.py", "encoder", "features")
_RENAMED = {"method": "agent", "observation": "protocol"}  # older name of a field -> name


class Features:
    """A frozen encoder: a callable from uint8 [N, 84, 84, 4], for any N, to float32 [N, F].

    `metadata` is the content of features.json. Inside your own `jax.jit`, use
    `apply(device_params, observation)`. `params` are the same weights, where the caller put them.
    """

    def __init__(
        self,
        encoder: Network,
        params: Params,
        metadata: Mapping[str, Any],
        folder: str | Path = ".",
        batch_size: int = 128,
    ):
        """Features of an encoder and its weights.

        Args:
          encoder: from `make_encoder`.
          params: its weights, float32.
          metadata: the architecture (encoder, width, num_features, dtype), and other fields to
            save.
          folder: the folder that a relative file name in `metadata["encoder"]` starts from.
          batch_size: number of observations in each call of the encoder.
        """
        self.params, self.apply = params, encoder.apply
        self.metadata = dict(metadata)
        self.folder = Path(folder)
        self._jitted = jax.jit(self.apply)
        self._batch_size = batch_size

    @property
    def num_features(self) -> int:
        """F, the number of features."""
        return int(self.metadata["num_features"])

    @functools.cached_property
    def device_params(self) -> Params:
        """`params` on JAX's default device. The first access copies them there."""
        return jax.device_put(self.params)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The features float32 [N, F]. All batches have one size, so it is compiled once.

        Raises:
          UserError: `observation` is not uint8 [N, 84, 84, 4].
        """
        check_observation(observation)
        states = np.asarray(observation)
        out = np.empty((len(states), self.num_features), np.float32)
        start = 0
        for part in map_states(
            functools.partial(self._jitted, self.device_params),
            states.__getitem__,
            np.arange(len(states)),
            self._batch_size,
        ):
            out[start : start + len(part)] = part
            start += len(part)
        return out


def check_observation(observation: Any) -> None:
    """Raises `UserError` unless `observation` is uint8 [N, 84, 84, 4]."""
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
    """Features of an untrained encoder: the baseline for learned features.

    Args:
      encoder, width, num_features, dtype: as in the config of `pvn.pretrain`.
      seed: seed of the weights.
      like: a run or features directory. If it is given, the architecture is taken from it.

    Raises:
      UserError: there is no such encoder, `like` holds no features, or the seed is out of range.
    """
    seed = check_seed(operator.index(seed))
    folder: Path = Path(".")
    metadata: dict[str, Any]
    if like is not None:
        with remote.reading(like, *_FILES) as local:
            folder, metadata = _read_metadata(local)
        kept = (*_ARCHITECTURE, "protocol", "game", "num_actions")
        metadata = {key: metadata[key] for key in kept if key in metadata}
    else:
        metadata = dict(encoder=encoder, width=width, num_features=num_features, dtype=dtype)
    network = _make_encoder(metadata, folder)
    metadata |= {"agent": "random_features", "seed": seed, "step": 0}
    return Features(network, init_encoder(network, seed), metadata, folder)


def resolve_features(name: str, like: str | None = None, seed: int = 0) -> Features:
    """The features that the flags of a command describe.

    Args:
      name: the value of --features: `random` (untrained), or a run or features directory.
      like: the value of --like, for `random` only: a run or features directory whose architecture
        is copied; None or empty for the default architecture.
      seed: seed of random weights.

    Raises:
      UserError: `like` is given with features that are not random, or the features cannot be made
        or loaded (see `random_features` and `load_features`).
    """
    if name == "random":
        return random_features(like=like or None, seed=seed)
    if like:
        raise UserError(f"--like={like}: goes with --features=random, not with {name}")
    return load_features(name)


def load_features(path: str | Path) -> Features:
    """Loads the features of a run directory or of a features directory.

    Args:
      path: a directory, local or `gs://bucket/path`. The code in it (`encoder.py` or `encoder/`) is
        executed: load only features from sources that you trust.

    Raises:
      UserError: there are no features, their format is newer, the weights are corrupt or do not fit
        the architecture, or the user's own encoder does not load; the server of `gs://` refuses.
    """
    with remote.reading(path, *_FILES) as local:
        return _load_local(local)


def _load_local(path: Path) -> Features:
    folder, metadata = _read_metadata(path)
    file = folder / "model.safetensors"
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"features {file}: {error.strerror}") from None
    if hashlib.sha256(raw).hexdigest() != metadata["sha256"]:
        raise UserError(f"features {file}: is corrupt: its SHA-256 is not that in features.json")
    params = _read_tensors(file, raw)
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


def save_features(path: str | Path, features: Features, card: str | None = None) -> str:
    """Writes a features directory. `features.json` is written last and makes the directory valid.

    A user's own encoder from a file is copied, together with the files beside it that it imports.

    Args:
      path: the directory; made if it does not exist.
      features: the features to save; `metadata` should hold game, dataset and so on.
      card: the model card as Markdown; None for a short one.

    Returns:
      A line that names the packages that the encoder imports and that are not copied. They must be
      installed where the features are loaded. Empty if there are none.

    Raises:
      OSError: a file cannot be written; the error names the file.
    """
    folder = Path(path)
    make_folder(folder, "features")
    metadata = {key: value for key, value in features.metadata.items() if key != "requires"}
    sources = plugin_sources(metadata["encoder"], features.folder)
    if sources.beside:
        single = len(sources.beside) == 1
        for name, source in sources.beside.items():
            target = folder / "encoder.py" if single else folder / "encoder" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, read_source(source))
        copied = "encoder.py" if single else f"encoder/{next(iter(sources.beside))}"
        metadata["encoder"] = f"{copied}:{metadata['encoder'].rpartition(':')[2]}"
    if sources.packages:
        metadata["requires"] = sources.packages
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
    return _requires(metadata)


def _requires(metadata: Mapping[str, Any]) -> str:
    """A line that names the packages needed besides those of pvn; empty if there are none."""
    packages = ", ".join(metadata.get("requires", ()))
    return packages and (
        f"to load these features elsewhere, bring {packages}: encoder {metadata['encoder']} "
        "needs it and no copy is included"
    )


def weights_sha256(features: Features) -> str:
    """SHA-256 of the file model.safetensors, in hexadecimal. The file need not exist."""
    known = features.metadata.get("sha256")
    return known or hashlib.sha256(save_tensors(_flatten(features.params))).hexdigest()


def _card(metadata: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {key} | {value} |"
        for key, value in metadata.items()
        if isinstance(value, str | int | float)
    )
    requires = _requires(metadata)
    return (
        "# Features\n\nA frozen encoder of Atari observations, uint8 [N, 84, 84, 4] (unscaled, "
        f"newest frame last) to float32 [N, {metadata['num_features']}].\n\n"
        '```python\nimport pvn\nfeatures = pvn.load_features("this/directory")\n```\n\n'
        + (f"{requires[0].upper()}{requires[1:]}.\n\n" if requires else "")
        + f"| | |\n|---|---|\n{rows}\n"
    )


def _make_encoder(metadata: Mapping[str, Any], folder: Path) -> Network:
    architecture = {key: metadata[key] for key in _ARCHITECTURE}
    return make_encoder(architecture.pop("encoder"), folder=folder, **architecture)


def _read_metadata(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The features directory, `path` or `path`/features, and the content of its features.json."""
    for folder in (Path(path), Path(path) / "features"):
        file = folder / "features.json"
        if not file.is_file():
            continue
        try:
            metadata: dict[str, Any] = dict(json.loads(read_text(file)))
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
        return folder, {_RENAMED.get(key, key): value for key, value in metadata.items()}
    raise UserError(
        f"features {path}: no features.json there or in its features/; "
        "python -m pvn.pretrain writes one"
    )


def _read_tensors(file: Path, raw: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, float32.

    Raises:
      UserError: it is not a safetensors file, or an array in it is not float32.
    """
    try:
        tensors = deserialize(raw)
    except SafetensorError as error:
        text = str(error).removeprefix("Error while deserializing: ")
        raise UserError(f"features {file}: is not a safetensors file ({text})") from None
    for name, tensor in sorted(tensors):
        if tensor["dtype"] != "F32":
            raise UserError(f"features {file}: parameter {name} is {tensor['dtype']}, expected F32")
    return {
        name: np.frombuffer(tensor["data"], "<f4").reshape(tensor["shape"])
        for name, tensor in tensors
    }


def _flatten(
    params: Mapping[str, Any],
    prefix: str = "",
    leaf: Callable[[Any], Any] = lambda x: np.asarray(x, order="C"),
) -> dict[str, Any]:
    """Nested parameters as {"a.b.c": leaf}. Names of modules contain no dot."""
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
