"""The indicator families by the names that configs use."""

from pathlib import Path
from typing import Protocol

from pvn.errors import UserError
from pvn.fields import fields_of
from pvn.indicators.controllable import MOST_CANDIDATES, among
from pvn.indicators.hashing import RandomHash
from pvn.indicators.indicator import Indicator
from pvn.indicators.local_network import LocalNetwork
from pvn.indicators.own import own_indicator
from pvn.indicators.random_network import RandomCumulant, RandomNetwork
from pvn.indicators.standardised import standardised
from pvn.plugins import is_plugin, load_plugin, plugin_errors

# The version of what a seed draws. 1: random networks in floats. 2: in whole numbers. A run that
# began with another version cannot be resumed.
INDICATORS_VERSION = 2


class Family(Protocol):
    """A family of auxiliary tasks: a NamedTuple of its settings, each with a default.

    The annotation of each setting holds the `pvn.fields.Field` that checks it in a config.
    """

    def indicator(self, num_tasks: int) -> Indicator:
        """T tasks of this family."""


INDICATORS: dict[str, type] = {
    "random_network": RandomNetwork,
    "random_hash": RandomHash,
    "random_cumulant": RandomCumulant,
    "local_network": LocalNetwork,
}


def find_family(name: str, folder: str | Path = ".") -> tuple[str, type]:
    """(config section, settings class) of one of `INDICATORS`, or of a user's own family.

    Args:
      name: one of `INDICATORS`, or for a user's own `path/to/file.py:Name` or
        `package.module:Name`, whose section is `Name`.
      folder: that relative paths start from.

    Raises:
      UserError: there is no such family, or it is not a NamedTuple with a method `indicator`; a
        setting has no default, or its annotation does not say which values are valid.
    """
    if name in INDICATORS:
        return name, INDICATORS[name]
    family = load_plugin("indicator", name, INDICATORS, folder)
    makes = callable(getattr(family, "indicator", None))
    if not (makes and isinstance(family, type) and hasattr(family, "_fields")):
        raise UserError(
            f"indicator {name}: expected a NamedTuple of settings with a method "
            "indicator(self, num_tasks)"
        )
    with plugin_errors("indicator", name, folder):
        fields_of(family)
    defaults = getattr(family, "_field_defaults", {})
    if missing := [each for each in getattr(family, "_fields", ()) if each not in defaults]:
        raise UserError(f"indicator {name}: its setting {missing[0]} has no default")
    return family.__name__, family


def make_indicator(
    name: str,
    family: Family,
    num_tasks: int,
    cumulants: str = "raw",
    candidates_per_task: int = 1,
) -> Indicator:
    """T tasks of a family, checked.

    cumulants: one of `standardised.CUMULANTS`. candidates_per_task: tasks drawn for each that is
    kept.

    Raises:
      UserError: a user's own family fails, or does not return an `Indicator` of T tasks; or these
        tasks cannot be standardised, or not be chosen among candidates.
    """

    def of(count: int) -> Indicator:
        return own_indicator(name, family, count) if is_plugin(name) else family.indicator(count)

    tasks = of(num_tasks)
    if cumulants == "standardised":
        tasks = standardised(tasks)
    if candidates_per_task == 1:
        return tasks
    place = f"config.candidates_per_task: {candidates_per_task:,}, expected"
    if not tasks.binary:
        raise UserError(
            f"{place} 1 with config.indicator={name}, whose tasks are not known to be 0 or 1 "
            "before training"
        )
    if (count := num_tasks * candidates_per_task) > MOST_CANDIDATES:
        raise UserError(
            f"{place} fewer: {count:,} candidates in all, at most {MOST_CANDIDATES:,} are compared"
        )
    return among(of(count), tasks)
