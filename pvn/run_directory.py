"""A run directory: its lock, its config, its versions and its command line."""

import contextlib
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pvn.errors import UserError
from pvn.fields import differing_fields
from pvn.files import Lock, Locked, read_text, write_json
from pvn.paths import make_folder

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "dm-haiku", "orbax-checkpoint", "ale-py", "numpy")


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


class Run:
    """A run directory that this process has locked."""

    def __init__(self, workdir: Path, identity: Mapping[str, Any], lock: Lock, holder: str):
        """Made by `open_run`.

        Args:
          workdir: the directory.
          identity: the config fields that define the run. They are stored in its checkpoints.
          lock: the lock on the directory.
          holder: the random id that this process wrote to run.json.
        """
        self.workdir, self.identity = workdir, dict(identity)
        self._lock, self._holder = lock, holder

    def check_held(self) -> None:
        """Checks that the directory still belongs to this run. Call it before each write.

        Raises:
          UserError: the directory was deleted, moved or replaced, or another run was started in it.
            The last case is possible only on file systems without locks.
        """
        holder = None
        if self._lock.is_held():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                holder = json.loads(read_text(self.workdir / "run.json"))["holder"]
        if holder != self._holder:
            raise UserError(
                f"--workdir={self.workdir}: was deleted, moved or taken by another run; this one "
                "has stopped and wrote nothing more"
            )


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Iterator[Lock]:
    """Locks `workdir` for this command. The directory is made if it does not exist.

    Raises:
      UserError: another command works there, or `workdir` cannot be a local directory.
    """
    if str(workdir).startswith("gs:"):
        raise UserError(f"--workdir={workdir}: runs are written to local directories only")
    make_folder(workdir, f"--workdir={workdir}")
    try:
        lock = Lock(workdir / ".lock")
    except Locked as locked:
        who = f" ({locked})" if str(locked) else ""
        raise UserError(
            f"--workdir={workdir}: another command is at work there{who}; wait for its end, or "
            "name another --workdir"
        ) from None
    try:
        yield lock
    finally:
        lock.release()


@contextlib.contextmanager
def open_run(
    workdir: Path,
    kind: str,
    config: Mapping[str, Any],
    *,
    overwrite: bool,
    owns: tuple[str, ...],
    may_change: tuple[str, ...] = (),
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config,
) -> Iterator[Run]:
    """Opens `workdir` for a run with this config: a new run, or a run to resume.

    Args:
      workdir: made if it does not exist. It stays locked until the context ends.
      kind: name of the command. A directory holds a run of one command.
      config: plain values; written to config.json.
      overwrite: whether to delete the run in the directory.
      owns: names of the files and folders of a run. Nothing else is deleted.
      may_change: fields that may differ from those of the run in the directory. The other fields
        are the run's identity.
      upgrade: converts a config.json of any version to the current format.

    Raises:
      UserError: another command works in `workdir`, it holds a run of another command or with
        another config (the message names the fields), or it cannot be a local directory.
    """
    with lock_workdir(workdir) as lock:
        config = json.loads(json.dumps(config))  # as config.json is read: tuples become lists
        identity = {key: value for key, value in config.items() if key not in may_change}
        _check_resumes(workdir, kind, identity, overwrite, may_change, upgrade)
        if overwrite and (workdir / "config.json").is_file():
            for name in owns:
                _delete(workdir / name)
        holder = uuid.uuid4().hex
        run = {"kind": kind, "command": sys.argv, "versions": versions(), "holder": holder}
        write_json(workdir / "run.json", run)
        write_json(workdir / "config.json", config)
        yield Run(workdir, identity, lock, holder)


def _check_resumes(
    workdir: Path,
    kind: str,
    identity: Mapping[str, Any],
    overwrite: bool,
    may_change: tuple[str, ...],
    upgrade: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Raises `UserError` if `workdir` holds a run that cannot be resumed or overwritten."""
    if not (workdir / "config.json").is_file():
        return
    try:
        old = upgrade(json.loads(read_text(workdir / "config.json")))
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


def _delete(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
