"""Checkpoints that are complete or do not exist.

Orbax writes the state; a manifest beside it holds the run's identity and a SHA-256 of every file
and of itself. A checkpoint is written under another name and renamed last. Restoring verifies the
manifest (Orbax alone restores a flipped bit silently), refuses a checkpoint of another run, and
falls back to the newest checkpoint that verifies.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pvn.errors import UserError
from pvn.fields import differing_fields
from pvn.files import naming, read_text, sha256, write_json
from pvn.learning.tree_store import restore_tree, save_tree
from pvn.paths import make_folder

FORMAT = "pvn-checkpoint"
VERSION = 2
"""Of the manifest and of the names in the state. Version 1 had no identity: its manifest holds
config, dataset (its fingerprint) and seed."""

_MANIFEST = "manifest.json"


def _name(step: int) -> str:
    return f"step_{step:010d}"


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file under `folder`, by its relative name; the manifest is left out."""
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != _MANIFEST]
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def save_checkpoint(
    path: Path, step: int, state: Any, identity: Mapping[str, Any], keep: int
) -> None:
    """Saves `state` as the checkpoint of `step` under `path`, and keeps `keep` in all.

    Deletes checkpoints of later steps: they were broken, or this one would not be saved.

    Args:
      state: a tree of arrays, on one device.
      identity: what the run is a function of (`Run.identity`); JSON.

    Raises:
      OSError: the disk takes no more; nothing of this checkpoint is left, and the others stand.
    """
    final, partial = path / _name(step), path / f"{_name(step)}.partial"
    for left in path.glob("*.partial"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    make_folder(path, "checkpoints")
    try:
        partial.mkdir()
        save_tree(partial / "state", state)
        body = {
            "format": FORMAT,
            "version": VERSION,
            "step": step,
            "identity": identity,
            "files": _files(partial),
        }
        body = json.loads(json.dumps(body))
        write_json(partial / _MANIFEST, {"sha256": _digest(body), **body})
        shutil.rmtree(final, ignore_errors=True)
        with naming(final):
            os.replace(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
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
        manifest = json.loads(read_text(folder / _MANIFEST))
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
    return dict(manifest)


def _differences(
    manifest: Mapping[str, Any],
    identity: Mapping[str, Any],
    upgrade: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[str]:
    """The fields in which a checkpoint's run differs from this one."""
    identity = json.loads(json.dumps(identity))  # tuples become lists, as in the manifest
    if manifest["version"] > 1:
        return differing_fields(manifest["identity"], identity)
    old = upgrade({**manifest["config"], "dataset_fingerprint": manifest["dataset"]})
    common = old.keys() & identity.keys()  # an old config also has fields that may change
    return differing_fields({k: old[k] for k in common}, {k: identity[k] for k in common})


def restore_checkpoint(
    path: Path,
    skeleton: Any,
    identity: Mapping[str, Any],
    say: Callable[[str], object],
    *,
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config,
    renamed: Mapping[str, str] | None = None,
) -> tuple[Any, int] | None:
    """(state, step) of the newest checkpoint under `path` that verifies; None: there is none.

    Args:
      skeleton: a tree of arrays like the one saved.
      identity: of the run that resumes (`Run.identity`).
      say: called with a line for each checkpoint that is broken.
      upgrade: maps the config in a manifest of version 1 to what it would be today.
      renamed: names of leaves that were others in version 1: `totals/loss` to `totals/td_loss`.

    Raises:
      UserError: the newest checkpoint that verifies is of another run (the message names the
        fields that differ) or its state does not fit `skeleton` (names the leaf); or there are
        checkpoints and all are broken.
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
        if differ := _differences(manifest, identity, upgrade):
            raise UserError(
                f"checkpoint {folder}: is of another run: {'; '.join(differ)}; move the "
                "checkpoints away, or name another --workdir"
            )
        try:
            old_names = renamed if manifest["version"] < VERSION else None
            return restore_tree(folder / "state", skeleton, old_names), int(manifest["step"])
        except ValueError as error:
            raise UserError(
                f"checkpoint {folder}: its state is not that of this run: {error}"
            ) from None
    if steps:
        raise UserError(
            f"checkpoints {path}: none of the {len(steps)} can be used, of the last {reason}; "
            "--overwrite starts anew"
        )
    return None
