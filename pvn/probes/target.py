"""Targets of a probe: those of pvn by name, and a user's own.

A target is a class that can be called without arguments. Its method `targets(rows)` returns, for
each row of a dataset, the number to predict and whether it is known. If the class is a NamedTuple,
its fields are its settings.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from pvn.data.store import Rows
from pvn.errors import UserError
from pvn.plugins import is_plugin, load_plugin, plugin_errors, plugin_identity
from pvn.probes.value import ValueTarget


class Target(Protocol):
    """Computes the numbers that a probe predicts from features."""

    def targets(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Returns the targets of N rows, real numbers [N], and whether each is known, bool [N]."""


TARGETS: dict[str, type[Target]] = {"value": ValueTarget}


class NamedTarget(NamedTuple):
    """A target with its name and settings."""

    name: str  # in rows of results: "value", or the `Name` of `path/to/file.py:Name`
    target: Target
    settings: dict[str, Any]  # its fields; for a user's own target also `code`, SHA-256 by file
    source: str  # the name as the user wrote it: "value", `path/to/file.py:Name`, ...


def load_target(name: str, settings: Mapping[str, Any]) -> NamedTarget:
    """Makes the target of this name.

    Args:
      name: one of `TARGETS`, `path/to/file.py:Name` or `package.module:Name`.
      settings: values by name. A target ignores the names that are not its fields.

    Raises:
      UserError: there is no such object, its code raises, or it has no method `targets`.
    """
    known: Any = TARGETS.get(name) or load_plugin("target", name, TARGETS)
    fields = getattr(known, "_fields", ())
    with plugin_errors("target", name):
        target = known(**{key: settings[key] for key in fields if key in settings})
    if not callable(getattr(target, "targets", None)):
        raise UserError(f"target {name}: has no method targets(rows)")
    found = dict(target._asdict()) if fields else {}
    if is_plugin(name):
        found["code"] = plugin_identity(name)
    return NamedTarget(name.rpartition(":")[2], target, found, name)


def targets_of(target: NamedTarget, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The targets of N rows, float [N], and whether each is known, bool [N]. Both are checked.

    Integers and bools become float32.

    Raises:
      UserError: the target's code raises, it returns another shape or type, or a known target is
        not finite.
    """
    with plugin_errors("target", target.source):
        targets, known = (np.asarray(x) for x in target.target.targets(rows))
    shape = rows.action.shape
    if (
        targets.shape != shape
        or known.shape != shape
        or targets.dtype.kind not in "biuf"
        or known.dtype != bool
    ):
        raise UserError(
            f"target {target.name}: gave {targets.dtype} {list(targets.shape)} and {known.dtype} "
            f"{list(known.shape)}, expected real numbers and bools, both {list(shape)}"
        )
    targets = targets if targets.dtype.kind == "f" else targets.astype(np.float32)
    bad = np.flatnonzero(known & ~np.isfinite(targets))
    if len(bad):
        raise UserError(f"target {target.name}: is not finite at row {bad[0]} of the dataset")
    return targets, known
