"""Checkpoints of an evaluation, which are complete or do not exist.

A checkpoint is a manifest, `step_N.json`, and the files that it names with their SHA-256:

- `step_N.npz`: the states of the rollout and of the learner, and the scores so far. It is small:
  one byte for each action, and the head;
- `replay_A_B.npz`: the timesteps from A to B (not included) of the replay. Each checkpoint adds
  one, with the timesteps since the checkpoint before. A file is deleted when the replay has
  overwritten all its timesteps.

The manifest is written last. It also holds its own SHA-256 and the run's identity. Two checkpoints
are kept. Restoring takes the newest one that matches its manifest.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pvn.errors import UserError
from pvn.evaluation.replay import Replay
from pvn.evaluation.state import State, with_prefix, without_prefix
from pvn.evaluation.stream import Position
from pvn.fields import differing_fields
from pvn.storage.files import naming, sha256
from pvn.storage.manifest import read_manifest, verify_files, write_manifest
from pvn.storage.paths import make_folder

FORMAT, VERSION = "pvn-evaluation-checkpoint", 2
KEEP = 2  # checkpoints


class Checkpoint(NamedTuple):
    """How far an evaluation has come."""

    phase: str  # "train" or "eval"
    agent_step: int  # agent steps (or labels) in the phase "train", plus agent steps in "eval"
    learned_at: int  # agent steps, or labels, that the learner has learned from
    scores: bytes  # the lines of scores.jsonl so far
    rollout: State
    learner: State  # empty for random play
    stored: Position = Position()  # of the dataset that the run writes
    replay: tuple[Path, ...] = ()  # of a restored checkpoint: its files of the replay, in order


def save_checkpoint(
    folder: Path, checkpoint: Checkpoint, replay: Replay | None, identity: Mapping[str, Any]
) -> None:
    """Saves a checkpoint, and deletes all but the newest `KEEP`.

    Args:
      folder: of all checkpoints of this run. A checkpoint of a later step must not be there.
      checkpoint: what to save. Its field `replay` is ignored.
      replay: None in the phase "eval", and for a replay of frames, which the emulators show again.
      identity: everything that determines the run (`Run.identity`); JSON values.

    Raises:
      OSError: the disk is full or refuses. The earlier checkpoints stay.
    """
    make_folder(folder, "checkpoints")
    files: dict[str, str] = {}
    if replay is not None:
        for manifest in _manifests(folder)[:1]:
            earlier = _files_of(manifest)
            files = {n: earlier[n] for n in _pieces(earlier) if _span(n)[1] > replay.oldest}
        first = max([replay.oldest, *(_span(name)[1] for name in files)])
        if first < replay.added:
            name = f"replay_{first:010d}_{replay.added:010d}.npz"
            files[name] = _write_arrays(folder / name, replay.rows(first))
    name = f"step_{checkpoint.agent_step:010d}"
    arrays = {"scores": np.frombuffer(checkpoint.scores, np.uint8)}
    arrays |= with_prefix("rollout/", checkpoint.rollout)
    arrays |= with_prefix("learner/", checkpoint.learner)
    files[f"{name}.npz"] = _write_arrays(folder / f"{name}.npz", arrays)
    body = {
        "format": FORMAT,
        "version": VERSION,
        "phase": checkpoint.phase,
        "agent_step": checkpoint.agent_step,
        "learned_at": checkpoint.learned_at,
        "stored": checkpoint.stored,
        "files": files,
        "identity": identity,
    }
    write_manifest(folder / f"{name}.json", body)
    _keep_only(folder, _manifests(folder)[:KEEP])


def restore_checkpoint(
    folder: Path, identity: Mapping[str, Any], say: Callable[[str], object]
) -> Checkpoint | None:
    """The newest checkpoint that matches its manifest; None if there is none.

    Deletes the checkpoints that do not match, and files that belong to no checkpoint.

    Args:
      folder: of all checkpoints of this run; it need not exist.
      identity: of the run that resumes (`Run.identity`).
      say: called with a line for each checkpoint that cannot be used.

    Raises:
      UserError: the checkpoint belongs to another run; the message names the fields that differ.
    """
    manifests = _manifests(folder)
    for number, file in enumerate(manifests):
        try:
            body = _read_manifest(file)
            verify_files(folder, body["files"])
        except ValueError as error:
            again = "; the evaluation starts again" if file == manifests[-1] else ""
            say(f"checkpoint {file}: passed over, {error}{again}")
            continue
        if differ := differing_fields(body["identity"], identity):
            raise UserError(
                f"checkpoint {file}: is of another run: {'; '.join(differ)}; move the checkpoints "
                "away, or name another --workdir"
            )
        _keep_only(folder, manifests[number:])
        with np.load(file.with_suffix(".npz")) as arrays:
            return Checkpoint(
                body["phase"],
                body["agent_step"],
                body["learned_at"],
                arrays["scores"].tobytes(),
                without_prefix("rollout/", arrays),
                without_prefix("learner/", arrays),
                Position(*body["stored"]),
                tuple(folder / name for name in _pieces(body["files"])),
            )
    _keep_only(folder, [])
    return None


def restore_replay(replay: Replay, files: Iterable[Path]) -> None:
    """Adds the timesteps in the files of a checkpoint to a replay without timesteps."""
    for file in files:
        with np.load(file) as rows:
            replay.put(_span(file.name)[0], rows)


def _write_arrays(file: Path, arrays: State) -> str:
    """Writes arrays as a whole file, or none. Returns the SHA-256."""
    partial = file.with_name(file.name + ".partial")
    try:
        with naming(file):
            with partial.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
            digest = sha256(partial)
            os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return digest


def _manifests(folder: Path) -> list[Path]:
    """Manifests in the folder, newest first."""
    return sorted(folder.glob("step_*.json"), reverse=True)


def _read_manifest(file: Path) -> dict[str, Any]:
    """The body of a manifest.

    Raises:
      ValueError: it is corrupt, or its format is older.
      UserError: its format is newer.
    """
    body = read_manifest(file)
    if body["version"] < VERSION:
        raise ValueError(f"its format version {body['version']} is older than {VERSION}")
    if body["version"] > VERSION:
        raise UserError(
            f"checkpoint {file}: its format version {body['version']} is newer than {VERSION}; "
            "resume with the newer pvn, or name another --workdir"
        )
    return body


def _files_of(manifest: Path) -> dict[str, str]:
    """The files that a manifest names, with their SHA-256; none if the manifest is corrupt."""
    try:
        return dict(_read_manifest(manifest)["files"])
    except ValueError:
        return {}


def _pieces(names: Iterable[str]) -> list[str]:
    """Those of the names that are files of the replay, oldest first."""
    return sorted(name for name in names if name.startswith("replay_"))


def _span(name: str) -> tuple[int, int]:
    """(A, B) of `replay_A_B.npz`."""
    first, end = name.removeprefix("replay_").removesuffix(".npz").split("_")
    return int(first), int(end)


def _keep_only(folder: Path, manifests: list[Path]) -> None:
    """Deletes all checkpoints but those of these manifests, and what belongs to no checkpoint."""
    kept = set(manifests)
    for manifest in manifests:
        kept |= {folder / name for name in _files_of(manifest)}
    # Manifests first: what a manifest names is there, even if the process is killed here.
    found = [*folder.glob("step_*"), *folder.glob("replay_*")]
    for file in sorted(found, key=lambda file: file.suffix != ".json"):
        if file not in kept:
            file.unlink()
