"""Checkpoints that are complete or do not exist.

Orbax writes the state; a manifest beside it holds a SHA-256 of every file and of itself. A
checkpoint is written under another name and renamed last. Restoring verifies the manifest (Orbax
alone restores a flipped bit silently) and falls back to the newest checkpoint that verifies.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from pvn.errors import UserError

FORMAT = "pvn-checkpoint"
VERSION = 1


def _name(step: int) -> str:
    return f"step_{step:010d}"


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file under `folder`, by its relative name; the manifest is left out."""
    digests = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != "manifest.json":
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            digests[file.relative_to(folder).as_posix()] = digest
    return digests


def save_checkpoint(
    path: Path, step: int, state: Any, metadata: Mapping[str, Any], keep: int
) -> None:
    """Saves `state` as the checkpoint of `step` under `path`, and keeps `keep` in all.

    Those of later steps go: they were passed over as broken, or this one would not be saved.

    Args:
      state: a tree of arrays, on one device.
      metadata: what is needed to know what this is a checkpoint of; JSON.
    """
    path.mkdir(parents=True, exist_ok=True)
    final, partial = path / _name(step), path / f"{_name(step)}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((partial / "state").absolute(), state)
    body = {
        "format": FORMAT,
        "version": VERSION,
        "step": step,
        **metadata,
        "files": _files(partial),
    }
    manifest = json.dumps({"sha256": _digest(body), **body}, indent=1)
    (partial / "manifest.json").write_text(manifest)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    earlier = [each for each in _steps(path) if each < step]
    for other in _steps(path):
        if other > step or other in earlier[keep - 1 :]:
            shutil.rmtree(path / _name(other))


def _steps(path: Path) -> list[int]:
    """Steps of the checkpoints under `path`, complete or not, newest first."""
    names = [p.name for p in path.glob("step_*") if p.is_dir()]
    digits = [name.removeprefix("step_") for name in names]
    return sorted((int(d) for d in digits if d.isdigit()), reverse=True)


def _verify(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint that is whole; raises `ValueError` with the reason if not."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        digest = manifest.pop("sha256")
        sound = digest == _digest(manifest)
    except FileNotFoundError:
        raise ValueError("it has no manifest.json") from None
    except (ValueError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise ValueError("its manifest.json is corrupt")
    if manifest["version"] > VERSION:
        raise ValueError(f"its format version {manifest['version']} is newer than {VERSION}")
    found = _files(folder)
    for name, expected in manifest["files"].items():
        if name not in found:
            raise ValueError(f"its file {name} is missing")
        if found[name] != expected:
            raise ValueError(f"its file {name} is corrupt")
    return manifest


def restore_checkpoint(
    path: Path, skeleton: Any, say: Callable[[str], object]
) -> tuple[Any, dict[str, Any]] | None:
    """(state, manifest) of the newest checkpoint under `path` that verifies; None: there is none.

    Args:
      skeleton: a tree of arrays like the one saved.
      say: told of each checkpoint that is passed over, and why.

    Raises:
      UserError: there are checkpoints, and all are broken.
    """
    steps = _steps(path)
    reason = ""
    for step in steps:
        folder = path / _name(step)
        try:
            manifest = _verify(folder)
        except ValueError as error:
            reason = str(error)
            say(f"checkpoint {folder}: passed over, {reason}")
            continue
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, skeleton)
        with ocp.StandardCheckpointer() as checkpointer:
            state = checkpointer.restore((folder / "state").absolute(), abstract)
        return state, manifest
    if steps:
        raise UserError(
            f"checkpoints {path}: none of the {len(steps)} can be used, of the last {reason}; "
            "--overwrite starts anew"
        )
    return None
