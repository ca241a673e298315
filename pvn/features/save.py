"""Writes features to a directory."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save as save_tensors

from pvn.errors import UserError
from pvn.features import sample
from pvn.features.card import model_card
from pvn.features.description import FORMAT, SUCCESSOR_FILE, read_description, requires, version_of
from pvn.features.features import Features
from pvn.features.tensors import flatten
from pvn.neighbours import read_source
from pvn.plugins import plugin_sources
from pvn.storage.files import write_json, write_whole
from pvn.storage.paths import make_folder

if TYPE_CHECKING:
    from pvn.features.successor import Successor  # who only saves features needs no indicators

_OURS = ("format", "version", "requires", "sha256", "sample_sha256", "successor")  # set by saving


def save_features(
    path: str | Path, features: Features, successor: "Successor | None" = None
) -> str:
    """Writes a features directory. `features.json` is written last: it holds the checksums.

    A directory that is written again is corrupt until then. A model card that is there already and
    belongs to the same weights stays: it may hold results.

    A user's own encoder or indicator from a file is copied, together with the files beside it that
    it imports.

    Args:
      path: the directory; made if it does not exist.
      features: the features to save; `metadata` should hold game, dataset and so on.
      successor: the heads and tasks of pretraining, for successor.safetensors; None: no such file.

    Returns:
      A line that names the packages that are imported and not copied. They must be installed where
      the features are loaded. Empty if there are none.

    Raises:
      OSError: a file cannot be written; the error names the file.
      UserError: see `Successor.tensors`.
    """
    folder = Path(path)
    make_folder(folder, "features")
    kept = {key: value for key, value in features.metadata.items() if key not in _OURS}
    metadata: dict[str, Any] = {"format": FORMAT, "version": version_of(kept), **kept}
    metadata["observation_shape"] = list(features.observation_shape)
    metadata |= _copy_code(folder, "encoder", kept["encoder"], features.folder)
    files = {"model.safetensors": _model_bytes(features)}
    files[sample.FILE] = save_tensors(sample.sample_tensors(features))
    metadata["sha256"], metadata["sample_sha256"] = map(_digest, files.values())
    if successor is None:
        (folder / SUCCESSOR_FILE).unlink(missing_ok=True)
    else:
        files[SUCCESSOR_FILE] = save_tensors(successor.tensors())
        entry = successor.description()
        entry |= _copy_code(folder, "indicator", entry["indicator"], successor.folder)
        metadata["successor"] = entry | {"sha256": _digest(files[SUCCESSOR_FILE])}
    for name, raw in files.items():
        write_whole(folder / name, raw)
    if not _has_card(folder, metadata):
        write_whole(folder / "README.md", model_card(metadata))
    write_json(folder / "features.json", metadata)
    return requires(metadata)


def _has_card(folder: Path, metadata: dict[str, Any]) -> bool:
    """Whether the folder holds a card of the features that `metadata` describes."""
    try:
        old = read_description(folder)[1]
    except UserError:
        return False
    same = all(
        old.get(key) == metadata.get(key)
        for key in old.keys() | metadata.keys()
        if key not in ("command", "versions")
    )
    return same and (folder / "README.md").is_file()


def weights_sha256(features: Features) -> str:
    """SHA-256 of the file model.safetensors, in hexadecimal. The file need not exist."""
    return features.metadata.get("sha256") or _digest(_model_bytes(features))


def _model_bytes(features: Features) -> bytes:
    params = flatten(features.params)
    return save_tensors({name: np.asarray(x, order="C") for name, x in params.items()})


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _copy_code(folder: Path, kind: str, name: str, start: Path) -> dict[str, Any]:
    """Copies a user's own encoder or indicator, and what it imports beside it.

    Args:
      folder: of the features.
      kind: encoder or indicator.
      name, start: see `plugin_sources`.

    Returns:
      {kind: the name in `folder`, "requires": packages that are not copied, if there are any}.
    """
    sources = plugin_sources(name, start)
    if sources.beside:
        single = len(sources.beside) == 1
        for relative, source in sources.beside.items():
            target = folder / f"{kind}.py" if single else folder / kind / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, read_source(source))
        copied = f"{kind}.py" if single else f"{kind}/{next(iter(sources.beside))}"
        name = f"{copied}:{name.rpartition(':')[2]}"
    return {kind: name} | ({"requires": sources.packages} if sources.packages else {})
