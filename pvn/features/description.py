"""features.json: the architecture, the protocol of the observations, the origin of the features."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pvn.errors import UserError
from pvn.features.observation import shape_of
from pvn.fields import check_field
from pvn.networks.encoders import (
    ARCHITECTURE,
    DEFAULT_LAST_LAYER,
    check_shape,
    make_encoder,
)
from pvn.networks.network import Network
from pvn.storage.files import read_text

FORMAT = "pvn-features"
VERSION = 2
"""Version 2 may have another last layer than `DEFAULT_LAST_LAYER`; version 1 has that one."""

FILES = ("features.json", "encoder.py", "encoder", "features")
"""What describes an encoder in a run directory or features directory."""

SUCCESSOR_FILE = "successor.safetensors"

ENCODER = ("encoder", *ARCHITECTURE)
"""The fields that `encoder_of` needs, besides `observation_shape`."""

_REQUIRED: dict[str, type] = {
    "encoder": str, "width": int, "num_features": int, "dtype": str, "sha256": str,
}  # fmt: skip
_OPTIONAL: dict[str, type] = {
    **{
        "observation_shape": list,
        "requires": list,
        "sample_sha256": str,
        "step": int,
        "command": str,
        "trained_by": str,
        "feature_norm": str,
        "feature_activation": str,
    },
    **{key: dict for key in ("successor", "protocol", "dataset", "pretraining", "versions")},
}
_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def read_description(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The features directory, `path` or `path`/features, and the content of its features.json.

    Raises:
      UserError: there is no features.json, or it is not one that this pvn reads.
    """
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
        check_types(file, metadata, _REQUIRED)
        metadata = DEFAULT_LAST_LAYER | metadata
        given = {key: kind for key, kind in _OPTIONAL.items() if metadata.get(key) is not None}
        check_types(file, metadata, given)
        for key, field in ARCHITECTURE.items():
            check_field(f"features {file}: {key}", metadata[key], field)
        check_shape(f"features {file}: observation_shape", shape_of(metadata))
        return folder, metadata
    raise UserError(
        f"features {path}: no features.json there or in its features/; "
        "python -m pvn.pretrain writes one"
    )


def version_of(metadata: Mapping[str, Any]) -> int:
    """The version of features.json that these fields need."""
    last_layer = {key: metadata.get(key, value) for key, value in DEFAULT_LAST_LAYER.items()}
    return 1 if last_layer == DEFAULT_LAST_LAYER else VERSION


def check_types(file: Path, fields: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Raises `UserError` unless each field is there and of its kind. JSON may hold anything.

    kinds: str, int, list or dict, by the name of the field.
    """
    for key, kind in kinds.items():
        if key not in fields:
            raise UserError(f"features {file}: lacks the field {key!r}")
        if not isinstance(fields[key], kind) or isinstance(fields[key], bool):
            text = json.dumps(fields[key])
            text = text if len(text) <= 40 else text[:40] + "..."
            raise UserError(f"features {file}: field {key!r} is {text}, expected {_KINDS[kind]}")


def encoder_of(metadata: Mapping[str, Any], folder: Path) -> Network:
    """The encoder that a description names. folder: see `make_encoder`.

    Raises:
      UserError: as `make_encoder`.
    """
    architecture = {key: metadata[key] for key in ENCODER if key in metadata}
    return make_encoder(
        architecture.pop("encoder"),
        observation_shape=shape_of(metadata),
        folder=folder,
        **architecture,
    )


def requires(metadata: Mapping[str, Any]) -> str:
    """A line that names the packages needed besides those of pvn; empty if there are none."""
    lines = []
    for kind, entry in (("encoder", metadata), ("indicator", metadata.get("successor", {}))):
        if packages := ", ".join(map(str, entry.get("requires") or ())):
            lines.append(
                f"to load these features elsewhere, bring {packages}: {kind} {entry[kind]} needs "
                "it and no copy is included"
            )
    return "; ".join(lines)
