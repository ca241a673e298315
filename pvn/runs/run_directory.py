"""A run directory: its lock, its config, its versions and its command line.

A command works in a local folder. A run on `gs://` has a temporary one, and copies files between it
and the bucket when the command says so (`Workdir.pull`, `Workdir.push`).
"""

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pvn.errors import UserError
from pvn.fields import differing_fields
from pvn.machine import machine
from pvn.runs import console
from pvn.storage.files import Lock, Locked, read_text, write_json
from pvn.storage.lease import Lease
from pvn.storage.mirror import Mirror
from pvn.storage.paths import is_remote, make_folder
from pvn.storage.remote import Bucket, temporary_folder

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "dm-haiku", "ale-py", "numpy")


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, and the git revision if there is one."""
    from pvn import __version__

    found = {"pvn": __version__, "python": sys.version.split()[0]}
    found |= {name: metadata.version(name) for name in _PACKAGES}
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        found["git"] = revision.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pass  # git is not installed, or this is not a checkout
    return found


def command_line() -> str:
    """The command that this process runs, as one types it in a shell."""
    return shlex.join(["python", *sys.orig_argv[1:]])


class Workdir:
    """A directory that this process has locked: a local one, or one on `gs://`.

    `workdir` is the local folder to work in. `name` is the directory as the user wrote it.
    """

    def __init__(self, workdir: Path, name: str, lock: Lock | Lease, mirror: Mirror | None):
        """Made by `lock_workdir`.

        Args:
          workdir, name: see above.
          lock: the lock on the directory.
          mirror: copies between the local folder and `gs://`; None for a local directory.
        """
        self.workdir, self.name = workdir, name
        self._lock, self._mirror = lock, mirror

    def named(self, text: str) -> str:
        """`text` with the user's name of the directory instead of the local folder's."""
        return text.replace(str(self.workdir), self.name) if self._mirror else text

    def pull(self, *names: str) -> None:
        """Brings files from `gs://` (`Mirror.pull`). Does nothing in a local directory."""
        if self._mirror:
            self._mirror.pull(*names)

    def push(self, *names: str) -> None:
        """Brings files that have changed to `gs://` (`Mirror.push`). Nothing for a local directory.

        Raises:
          UserError: the lock is lost, or the server refuses.
        """
        if self._mirror:
            self._check_lock()
            self._mirror.push(*names)

    def prune(self, folder: str) -> None:
        """Deletes what `gs://` has too much in `folder` (`Mirror.prune`)."""
        if self._mirror:
            self._check_lock()
            self._mirror.prune(folder)

    def delete(self, *names: str) -> None:
        """Deletes files and folders, on `gs://` too."""
        if self._mirror:
            self._check_lock()
            self._mirror.delete(*names)
        for name in names:
            _delete(self.workdir / name)

    def _check_lock(self, holds: bool = True) -> None:
        """Raises `UserError` if the lock is lost, or if `holds` is false."""
        if not self._lock.is_held() or not holds:
            raise UserError(
                f"--workdir={self.name}: was deleted, moved or taken by another run; this one "
                "has stopped and wrote nothing more"
            )


class Run(Workdir):
    """A run directory that this process has locked."""

    def __init__(self, place: Workdir, identity: Mapping[str, Any], holder: str, changed: str):
        """Made by `open_run`.

        Args:
          place: the directory.
          identity: the config fields that define the run. They are stored in its checkpoints.
          holder: the random id that this process wrote to run.json.
          changed: how versions and machine differ from those of an earlier start of this run.
        """
        super().__init__(place.workdir, place.name, place._lock, place._mirror)
        self.identity, self._holder, self._changed = dict(identity), holder, changed

    def warn_of_changes(self) -> None:
        """Warns, for a run that resumes, if it will not have the bits of one that never stopped."""
        if self._changed:
            console.say(
                f"warning: {self.name}: {self._changed}; the last bits of the results may differ "
                "from those of a run without interruption"
            )

    def check_held(self) -> None:
        """Checks that the directory still belongs to this run. Call it before each write.

        Raises:
          UserError: the directory was deleted, moved or replaced, or another run was started in it.
            The last case is possible only on file systems without locks.
        """
        holder = None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(read_text(self.workdir / "run.json"))["holder"]
        self._check_lock(holder == self._holder)


@contextlib.contextmanager
def lock_workdir(workdir: str | Path, *pull: str) -> Iterator[Workdir]:
    """Locks `workdir` for this command. A local directory is made if it does not exist.

    Args:
      workdir: local, or `gs://bucket/path`.
      pull: what to bring from `gs://` (see `Workdir.pull`).

    Raises:
      UserError: another command works there, or `workdir` cannot be a directory, or the server of
        `gs://` refuses.
    """
    try:
        place = _lock_remote(str(workdir)) if is_remote(workdir) else _lock_local(Path(workdir))
    except Locked as locked:
        who = f" ({locked})" if str(locked) else ""
        raise UserError(
            f"--workdir={workdir}: another command is at work there{who}; wait for its end, or "
            "name another --workdir"
        ) from None
    try:
        place.pull(*pull)
        yield place
    except UserError as error:
        if not is_remote(workdir):
            raise
        raise UserError(place.named(str(error))) from None
    finally:
        place._lock.release()
        if is_remote(workdir):
            shutil.rmtree(place.workdir, ignore_errors=True)


def _lock_local(folder: Path) -> Workdir:
    make_folder(folder, f"--workdir={folder}")
    return Workdir(folder, str(folder), Lock(folder / ".lock"), None)


def _lock_remote(path: str) -> Workdir:
    bucket, folder = Bucket(path), temporary_folder()
    return Workdir(folder, path, Lease(bucket, console.say), Mirror(bucket, folder))


@contextlib.contextmanager
def open_run(
    workdir: str | Path,
    kind: str,
    config: Mapping[str, Any],
    *,
    overwrite: bool,
    owns: tuple[str, ...],
    pull: tuple[str, ...] = (),
    may_change: tuple[str, ...] = (),
) -> Iterator[Run]:
    """Opens `workdir` for a run with this config: a new run, or a run to resume.

    Args:
      workdir: local or `gs://bucket/path`; made if it does not exist. It stays locked until the
        context ends.
      kind: name of the command. A directory holds a run of one command.
      config: plain values; written to config.json.
      overwrite: whether to delete the run in the directory.
      owns: names of the files and folders of a run. Nothing else is deleted.
      pull: what to bring from `gs://`, besides config.json and run.json (see `Workdir.pull`).
      may_change: fields that may differ from those of the run in the directory. The other fields
        are the run's identity.

    Raises:
      UserError: another command works in `workdir`, it holds a run of another command or with
        another config (the message names the fields), or it cannot be a directory.
    """
    with lock_workdir(workdir, "config.json", "run.json", *pull) as place:
        workdir = place.workdir
        config = json.loads(json.dumps(config))  # as config.json is read: tuples become lists
        identity = {key: value for key, value in config.items() if key not in may_change}
        _check_resumes(workdir, kind, identity, overwrite, may_change)
        if overwrite and (workdir / "config.json").is_file():
            place.delete(*owns)
        holder = uuid.uuid4().hex
        run: dict[str, Any] = {"kind": kind, "command": sys.argv, "versions": versions()}
        run["machine"] = machine()
        earlier = [] if overwrite else _earlier_starts(workdir / "run.json", run)
        changed = _changes(earlier, run)
        run |= {"holder": holder, "earlier": earlier}
        write_json(workdir / "run.json", run)
        write_json(workdir / "config.json", config)
        place.push("run.json", "config.json")
        yield Run(place, identity, holder, changed)


def _check_resumes(
    workdir: Path,
    kind: str,
    identity: Mapping[str, Any],
    overwrite: bool,
    may_change: tuple[str, ...],
) -> None:
    """Raises `UserError` if `workdir` holds a run that cannot be resumed or overwritten."""
    if not (workdir / "config.json").is_file():
        return
    try:
        old = dict(json.loads(read_text(workdir / "config.json")))
        old_kind = json.loads(read_text(workdir / "run.json"))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"--workdir={workdir}: its config.json and run.json are not those of a run; name "
            "another --workdir"
        ) from None
    if old_kind != kind:
        raise UserError(
            f"--workdir={workdir}: holds a run of pvn.{old_kind}; name another --workdir"
        )
    old = {key: value for key, value in old.items() if key not in may_change}
    if not overwrite and (differ := differing_fields(old, identity)):
        raise UserError(
            f"--workdir={workdir}: holds a run with another config: {'; '.join(differ)}. Name "
            "another --workdir; --overwrite would delete that run"
        )


def _earlier_starts(file: Path, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the run in run.json was started before with other versions or on another machine.

    Oldest first. Each has the keys `command`, `versions` and `machine`.
    """
    starts: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        last = json.loads(read_text(file))
        for start in (*last.get("earlier", ()), last):
            start = {key: start[key] for key in ("command", "versions", "machine")}
            if _surroundings(start) not in map(_surroundings, (run, *starts)):
                starts.append(start)
    return starts


def _surroundings(start: Mapping[str, Any]) -> dict[str, str]:
    """Versions and machine of a start."""
    return dict(start["versions"] | start["machine"])


def _changes(earlier: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    """How packages and machine of earlier starts differ from those now; empty if they do not."""
    now, changes = _surroundings(run), []
    for name in (*_PACKAGES, *run["machine"]):
        found = {str(_surroundings(start).get(name, now[name])) for start in earlier}
        if before := sorted(found - {now[name]}):
            changes.append(f"{name} {' and '.join(before)} before and {now[name]} now")
    return ", ".join(changes)


def _delete(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
