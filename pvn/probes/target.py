"""Targets of a probe: those of pvn by name, and a user's own.

A target is a class that can be called without arguments. Its method `targets(dataset, folder)`
returns, for each row of a dataset, what to predict and whether it is known. If the class is a
NamedTuple, its fields are its settings. `NextFeatures` has no `targets`, because what it predicts
are the features; its `ask` draws the rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pvn.data.store import Dataset
from pvn.errors import UserError
from pvn.fields import Field, check_field, fields_of
from pvn.plugins import is_plugin, load_plugin, plugin_errors, plugin_identity
from pvn.probes.action import ActionTarget
from pvn.probes.advantage import AdvantageTarget
from pvn.probes.next_features import NextFeatures
from pvn.probes.ram import RamTarget
from pvn.probes.reward import RewardTarget
from pvn.probes.value import ValueTarget


class Target(Protocol):
    """Computes what a probe predicts from features.

    It may also have `names`, the names of K outputs, as an attribute or a method; a method
    `scores(values, predictions) -> dict[str, float]` with scores of its own; a method
    `details(values) -> dict[str, float]` with properties of the test rows' values; and `described`,
    settings by name that are known once `targets` has run and replace those of its fields.
    """

    def targets(self, dataset: Dataset, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """What to predict at N rows, [N] or [N, K], and whether it is known, bool [N] or [N, K].

        Args:
          dataset: the dataset.
          folder: an existing folder, where the target may keep what was expensive to compute.
        """


TARGETS: dict[str, type] = {
    "value": ValueTarget,
    "reward": RewardTarget,
    "action": ActionTarget,
    "next_features": NextFeatures,
    "advantage": AdvantageTarget,
    "ram": RamTarget,
}


class NamedTarget(NamedTuple):
    """A target with its name and settings."""

    name: str  # in rows of results: "value", or the `Name` of `path/to/file.py:Name`
    target: Any  # a `Target`, or `NextFeatures`
    settings: dict[str, Any]  # its fields; for a user's own target also `code`, SHA-256 by file
    source: str  # the name as the user wrote it: "value", `path/to/file.py:Name`, ...


class Outputs(NamedTuple):
    """What to predict at N rows: K outputs."""

    values: np.ndarray  # [N, K]; float (a regression), bool (binary), or int from 0 (classes)
    known: np.ndarray  # bool [N, K]
    names: tuple[str, ...]  # K; empty for a single output without a name


def load_target(
    name: str, settings: Mapping[str, Any], own: Mapping[str, str] | None = None
) -> NamedTarget:
    """Makes the target of this name.

    Args:
      name: one of `TARGETS`, `path/to/file.py:Name` or `package.module:Name`.
      settings: values by name. A target ignores the names that are not its fields.
      own: settings of this target alone, as text.

    Raises:
      UserError: there is no such object, its code raises, or it has no method `targets`; it has no
        such setting, or its value is wrong.
    """
    known: Any = TARGETS.get(name) or load_plugin("target", name, TARGETS)
    short = name.rpartition(":")[2]
    fields = getattr(known, "_fields", ())
    given = {key: settings[key] for key in fields if key in settings}
    if own:
        with plugin_errors("target", name):
            declared: dict[str, Field] = fields_of(known) if fields else {}
        for key, text in own.items():
            if key not in declared:
                names = f"the settings {', '.join(declared)}" if declared else "no settings"
                raise UserError(f"--set={short}.{key}: target {short} has {names}")
            given[key] = _parse(f"--set={short}.{key}", text, declared[key])
    with plugin_errors("target", name):
        target = known(**given)
    if not callable(getattr(target, "targets", None)) and not isinstance(target, NextFeatures):
        raise UserError(f"target {name}: has no method targets(dataset, folder)")
    found = dict(target._asdict()) if fields else {}
    if is_plugin(name):
        found["code"] = plugin_identity(name)
    return NamedTarget(short, target, found, name)


def _parse(place: str, text: str, field: Field) -> Any:
    """The value in a text, checked."""
    value: Any = text
    if field.kind is bool:
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif field.kind in (int, float):
        try:
            value = field.kind(text)
        except ValueError:
            value = text
    return check_field(place, value, field)


def targets_of(target: NamedTarget, dataset: Dataset, folder: Path) -> Outputs:
    """The outputs of a target, checked.

    Raises:
      UserError: the target's code raises, it returns another shape or type, a known number is not
        finite, a known class is negative, or the number of names is wrong.
    """
    with plugin_errors("target", target.source):
        values, known = (np.asarray(x) for x in target.target.targets(dataset, folder))
        names = getattr(target.target, "names", ())
        names = tuple(str(each) for each in (names() if callable(names) else names))
    total = len(dataset.rows.action)
    shaped = values.shape[:1] == (total,) and values.ndim in (1, 2) and values.size > 0
    if (
        not shaped
        or known.shape not in (values.shape, (total,))
        or values.dtype.kind not in "fbiu"  # a regression, binary, classes
        or known.dtype != bool
    ):
        raise UserError(
            f"target {target.name}: gave {values.dtype} {list(values.shape)} and {known.dtype} "
            f"{list(known.shape)}, expected floats, bools or integers [{total}] or [{total}, K] "
            f"and bools of the same shape or [{total}]"
        )
    numbers = values.dtype.kind == "f"
    values = values.reshape(total, -1)
    known = np.broadcast_to(known.reshape(total, -1), values.shape)
    wrong = known & ~(np.isfinite(values) if numbers else values >= 0)
    if wrong.any():
        row = int(np.argmax(wrong.any(axis=1)))
        problem = "is not finite" if numbers else "is a negative class"
        raise UserError(f"target {target.name}: {problem} at row {row} of the dataset")
    if names and len(names) != values.shape[1]:
        raise UserError(
            f"target {target.name}: gave {len(names)} names of {values.shape[1]} outputs"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"target {target.name}: two outputs have the name {twice!r}")
    if not names and values.shape[1] > 1:
        names = tuple(map(str, range(values.shape[1])))
    return Outputs(values, known, names)
