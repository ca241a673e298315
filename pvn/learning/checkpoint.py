"""Checkpoints that are complete or do not exist.

A checkpoint is a folder with the state (`state.npz`) and a manifest, which holds the run's
identity, the SHA-256 of the state and its own SHA-256. It is written under another name; the last
step renames it. Restoring takes the newest checkpoint that matches its manifest. It refuses a
checkpoint of another run.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pvn.errors import UserError
from pvn.fields import differing_fields
from pvn.learning.tree_store import restore_tree, save_tree
from pvn.storage.files import naming, sha256
from pvn.storage.manifest import read_manifest, verify_files, write_manifest
from pvn.storage.paths import make_folder

FORMAT = "pvn-checkpoint"
VERSION = 4  # 3: other arrays for the heads; before: a folder of Orbax

_MANIFEST, _STATE = "manifest.json", "state.npz"


def _name(step: int) -> str:
    return f"step_{step:010d}"


def save_checkpoint(
    path: Path, step: int, state: Any, identity: Mapping[str, Any], keep: int
) -> None:
    """Saves `state` as the checkpoint of `step` under `path`, and deletes older ones.

    Also deletes checkpoints of later steps. There are some only if they were corrupt, and the run
    resumed from an earlier one.

    Args:
      path: the folder of all checkpoints.
      step: number of steps taken.
      state: a tree of arrays, on one device.
      identity: everything that determines the run (`Run.identity`); JSON.
      keep: number of checkpoints to keep, this one included.

    Raises:
      OSError: the disk is full or refuses. Nothing is left of this checkpoint; the others stay.
    """
    final, partial = path / _name(step), path / f"{_name(step)}.partial"
    for left in path.glob("*.partial"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    make_folder(path, "checkpoints")
    try:
        partial.mkdir()
        save_tree(partial / _STATE, state)
        body = {
            "format": FORMAT,
            "version": VERSION,
            "step": step,
            "identity": identity,
            "files": {_STATE: sha256(partial / _STATE)},
        }
        write_manifest(partial / _MANIFEST, body)
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
    """The manifest of a checkpoint that is complete and not corrupt.

    Raises:
      ValueError: the checkpoint cannot be used; the message is the reason.
    """
    manifest = read_manifest(folder / _MANIFEST)
    if manifest["version"] != VERSION:
        raise ValueError(f"its format version is {manifest['version']}, this pvn reads {VERSION}")
    verify_files(folder, manifest["files"])
    return manifest


def restore_checkpoint(
    path: Path,
    skeleton: Any,
    identity: Mapping[str, Any],
    say: Callable[[str], object],
    fetch: Callable[[str], object] = lambda name: None,
) -> Any | None:
    """The state of the newest checkpoint under `path` that verifies; None if there are none.

    Args:
      path: the folder of all checkpoints.
      skeleton: a tree of arrays with the structure, shapes and dtypes of the saved one.
      identity: of the run that resumes (`Run.identity`).
      say: called with a line for each corrupt checkpoint.
      fetch: called with the name of a checkpoint's folder before it is verified, to bring its files
        if only the manifest is there.

    Raises:
      UserError: the newest checkpoint that verifies belongs to another run (the message names the
        fields that differ), or its state does not fit `skeleton` (the message names the leaf), or
        there are checkpoints and all are corrupt.
    """
    steps = _steps(path)
    reason = ""
    identity = json.loads(json.dumps(identity))  # tuples become lists, as in the manifest
    for step in steps:
        folder = path / _name(step)
        fetch(_name(step))
        try:
            manifest = _verify(folder)
        except ValueError as error:
            reason = str(error)
            say(f"checkpoint {folder}: passed over, {reason}")
            continue
        if differ := differing_fields(manifest["identity"], identity):
            raise UserError(
                f"checkpoint {folder}: is of another run: {'; '.join(differ)}; move the "
                "checkpoints away, or name another --workdir"
            )
        try:
            return restore_tree(folder / _STATE, skeleton)
        except ValueError as error:
            raise UserError(
                f"checkpoint {folder}: its state is not that of this run: {error}"
            ) from None
    if steps:
        raise UserError(
            f"checkpoints {path}: none of the {len(steps)} can be used, the oldest because "
            f"{reason}; --overwrite starts anew"
        )
    return None
