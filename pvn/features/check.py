"""Checks a features directory: what someone who got it can rely on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pvn.errors import UserError
from pvn.features import sample
from pvn.features.description import SUCCESSOR_FILE, read_description
from pvn.features.features import Features
from pvn.features.load import load_features
from pvn.features.tensors import flatten, read_verified
from pvn.storage.files import read_text


class Finding(NamedTuple):
    """One line of a check."""

    text: str
    is_fault: bool = False


def check_features(path: str | Path) -> Iterator[Finding]:
    """Yields a line for each thing that is checked, a fault where it does not hold.

    The code of a user's own encoder or indicator in the directory is executed.

    path: a local run directory or features directory.
    """
    try:
        folder, metadata = read_description(path)
        yield Finding(f"format: {metadata['format']} version {metadata['version']}")
        features = load_features(folder)
    except UserError as error:
        yield Finding(str(error), is_fault=True)
        return
    for check in (_weights, _sample, _successor, _card):
        try:
            yield Finding(check(folder, metadata, features))
        except UserError as error:
            yield Finding(str(error), is_fault=True)


def _weights(folder: Path, metadata: dict[str, Any], features: Features) -> str:
    tensors = flatten(features.params)
    _check_finite(folder / "model.safetensors", tensors)
    count = sum(tensor.size for tensor in tensors.values())
    return (
        f"weights: {count:,} finite numbers in {len(tensors)} tensors, with the SHA-256 in "
        f"features.json; they fit {metadata['encoder']}"
    )


def _sample(folder: Path, metadata: dict[str, Any], features: Features) -> str:
    file = folder / sample.FILE
    if metadata.get("sample_sha256") is None:
        if file.exists():
            raise UserError(
                f"features {file}: features.json lacks its SHA-256, the field 'sample_sha256'"
            )
        return "sample: none, because an older pvn wrote these features; not checked"
    raw = read_verified(file, metadata["sample_sha256"])
    tensors = sample.read_sample(file, raw, features.num_features, features.observation_shape)
    off = sample.difference(features, tensors)
    if not off <= sample.TOLERANCE:  # NaN too
        raise UserError(
            f"features {file}: the encoder gives other features here, off by {off:.1%} of the "
            f"largest; at most {sample.TOLERANCE:.0%} is rounding"
        )
    return (
        f"sample: {len(tensors['features'])} observations give the stored "
        f"{features.num_features} features (off by {off:.1g} of the largest)"
    )


def _successor(folder: Path, metadata: dict[str, Any], features: Features) -> str:
    if metadata.get("successor") is None:
        if (file := folder / SUCCESSOR_FILE).exists():
            raise UserError(f"features {file}: features.json lacks its entry, 'successor'")
        return f"heads: none (there is no {SUCCESSOR_FILE})"
    found = features.successor
    _check_finite(folder / SUCCESSOR_FILE, found.tensors())
    cumulants = found.cumulants(sample.sample_observation(features.observation_shape))
    _check_finite(folder / SUCCESSOR_FILE, {"cumulants of the sample": cumulants})
    _, num_tasks, num_actions = found.head_kernel.shape
    discounts = ", ".join(map(str, found.task.discount))
    return (
        f"heads: {num_tasks} tasks of {found.task.indicator}, {num_actions} actions, discount "
        f"{discounts}; finite, and the cumulants can be computed"
    )


def _card(folder: Path, metadata: dict[str, Any], features: Features) -> str:
    file = folder / "README.md"
    if not file.is_file() or not read_text(file).strip():
        raise UserError(f"features {file}: there is no model card; python -m pvn.features card DIR")
    if metadata["sha256"] not in read_text(file):
        raise UserError(
            f"features {file}: is the card of other weights: it lacks their SHA-256, "
            f"{metadata['sha256']}; python -m pvn.features card DIR"
        )
    return "card: README.md, with the SHA-256 of the weights"


def _check_finite(file: Path, tensors: dict[str, np.ndarray]) -> None:
    for name, tensor in sorted(tensors.items()):
        if not np.isfinite(tensor).all():
            raise UserError(f"features {file}: {name} is not finite; did training diverge?")
