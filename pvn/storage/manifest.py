"""Manifests: JSON files that name other files with their SHA-256, and hold their own.

A manifest is written last. So it tells that the files it names are complete, and it tells whether a
bit of them, or of itself, has changed since.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pvn.storage.files import read_text, sha256, write_json


def write_manifest(file: Path, body: Mapping[str, Any]) -> None:
    """Writes a manifest. body: JSON values; `files` holds the SHA-256 of each file by its name."""
    body = json.loads(json.dumps(body))  # as it is read: tuples become lists
    write_json(file, {"sha256": _digest(body), **body})


def read_manifest(file: Path) -> dict[str, Any]:
    """The body of a manifest.

    Raises:
      ValueError: it is missing or corrupt; the message says so.
    """
    try:
        body: dict[str, Any] = json.loads(read_text(file))
        sound = body.pop("sha256") == _digest(body)
    except FileNotFoundError:
        raise ValueError(f"its {file.name} is missing") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        sound = False
    if not sound:
        raise ValueError(f"its {file.name} is corrupt")
    return body


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Checks the files of a manifest.

    Raises:
      ValueError: one is missing or has another SHA-256; the message names it.
    """
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise ValueError(f"its file {name} is missing")
        if sha256(folder / name) != expected:
            raise ValueError(f"its file {name} is corrupt")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
