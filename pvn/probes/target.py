"""What a probe may predict: targets by name, and a person's own.

A target is a class that can be made without arguments. Its method `targets(rows)` says for each
row of a dataset what to predict there, and whether that is known. If the class is a NamedTuple, its
fields are its settings.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from pvn.data.store import Rows
from pvn.errors import UserError
from pvn.plugins import is_plugin, load_plugin, plugin_errors, plugin_identity
from pvn.probes.value import ValueTarget


class Target(Protocol):
    """What to predict from features."""

    def targets(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """The targets of N rows, real numbers [N], and where they are known, bool [N]."""


TARGETS: dict[str, type[Target]] = {"value": ValueTarget}


class NamedTarget(NamedTuple):
    """A target and what identifies it."""

    name: str  # as in rows of results: "value", or the `Name` of `path/to/file.py:Name`
    target: Target
    settings: dict[str, Any]  # its fields; of a person's own also `code`, SHA-256 by file
    source: str  # the name as it was given: "value", `path/to/file.py:Name`, ...


def load_target(name: str, settings: Mapping[str, Any]) -> NamedTarget:
    """The target of this name.

    Args:
      name: one of `TARGETS`, `path/to/file.py:Name` or `package.module:Name`.
      settings: values by name. A target takes those that it has fields for.

    Raises:
      UserError: there is no such target, or it is not one.
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
    """What the target says of N rows: targets [N], and where they are known, bool [N].

    Raises:
      UserError: its answer is not of this form, or a known target is not finite.
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
