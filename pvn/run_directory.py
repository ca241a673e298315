"""A run directory tells its own story: config, versions, command line, metrics."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from tensorboardX import SummaryWriter

from pvn.errors import UserError
from pvn.files import write_json, write_whole

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "dm-haiku", "orbax-checkpoint", "ale-py", "numpy")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the git revision where there is one."""
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
        pass  # no git, or not a checkout
    return found


def differing_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`name (old value, now new value)` of the fields that differ."""
    return [
        f"{key} ({old.get(key)!r}, now {new.get(key)!r})"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


class Run:
    """A run directory that is held: no other command runs in it."""

    def __init__(self, workdir: Path, identity: Mapping[str, Any]):
        """identity: what the run is a function of; it names the run's checkpoints."""
        self.workdir, self.identity = workdir, dict(identity)

    def check_held(self) -> None:
        """Raises `UserError` if the directory was taken away meanwhile, or is another run's."""


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
    """Makes `workdir` the directory of a run with this config, new or to be gone on with.

    Args:
      workdir: made if it is not there; no other command can open it until this one leaves.
      kind: the command; a directory holds runs of one kind.
      config: plain values; written to config.json.
      overwrite: delete the run that is there.
      owns: the files and folders of such a run; nothing else is ever deleted.
      may_change: fields that may differ from those of the run that is there; the others are the
        run's identity.
      upgrade: from the config.json of an older pvn to what it would be today.

    Raises:
      UserError: `workdir` holds a run of another kind or with another config (says which fields
        differ), another command is at work there, or it cannot be a directory.
    """
    if str(workdir).startswith("gs:"):
        raise UserError(f"--workdir={workdir}: runs are written to local directories only")
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: is a file, expected a directory")
    config_file, run_file = workdir / "config.json", workdir / "run.json"
    if config_file.is_file():
        try:
            old = upgrade(json.loads(config_file.read_text()))
            old_kind = json.loads(run_file.read_text())["kind"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"--workdir={workdir}: its config.json and run.json are not those of a run; name "
                "another --workdir"
            ) from None
        if old_kind != kind:
            raise UserError(
                f"--workdir={workdir}: holds a run of pvn.{old_kind}; name another --workdir"
            )
        if overwrite:
            for name in owns:
                target = workdir / name
                if target.is_dir() and not target.is_symlink():
                    shutil.rmtree(target)
                else:
                    target.unlink(missing_ok=True)
        else:
            new = json.loads(json.dumps(config))  # tuples are lists there
            fixed = [{k: v for k, v in c.items() if k not in may_change} for c in (old, new)]
            if differ := differing_fields(*fixed):
                raise UserError(
                    f"--workdir={workdir}: holds a run with another config: {'; '.join(differ)}. "
                    "Name another --workdir, or pass --overwrite"
                )
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(run_file, {"kind": kind, "command": sys.argv, "versions": versions()})
    write_json(config_file, config)
    yield Run(workdir, {k: v for k, v in config.items() if k not in may_change})


class MetricsWriter:
    """One row a call to metrics.jsonl, and the same numbers to TensorBoard."""

    def __init__(self, workdir: Path, start_step: int):
        """Rows of steps after `start_step` are dropped: they will be made again."""
        self._file = workdir / "metrics.jsonl"
        rows = self._file.read_text().splitlines() if self._file.is_file() else []
        kept = [row for row in rows if _step_of(row) <= start_step]
        write_whole(self._file, "".join(row + "\n" for row in kept))
        self._stream: TextIO = self._file.open("a")
        self._board = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=start_step + 1, flush_secs=30
        )

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._stream.close()
        self._board.close()


def _step_of(row: str) -> float:
    try:
        return json.loads(row)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a row that a kill cut short
