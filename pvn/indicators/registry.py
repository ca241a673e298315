"""The indicator families by the names that configs use."""

from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from pvn.errors import UserError
from pvn.indicators.hashing import RandomHash
from pvn.indicators.indicator import Indicator, Params
from pvn.indicators.local_network import LocalNetwork
from pvn.indicators.random_network import RandomCumulant, RandomNetwork
from pvn.indicators.standardised import standardised
from pvn.plugins import guarded, is_plugin, load_plugin

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
      UserError: there is no such family, or it is not a NamedTuple with a method `indicator`.
    """
    if name in INDICATORS:
        return name, INDICATORS[name]
    family = load_plugin("indicator", name, INDICATORS, folder)
    if not (isinstance(family, type) and hasattr(family, "_fields") and _makes(family)):
        raise UserError(
            f"indicator {name}: expected a NamedTuple of settings with a method "
            "indicator(self, num_tasks)"
        )
    return family.__name__, family


def _makes(family: Any) -> bool:
    return callable(getattr(family, "indicator", None))


def make_indicator(name: str, family: Family, num_tasks: int, cumulants: str = "raw") -> Indicator:
    """T tasks of a family, checked.

    cumulants: one of `standardised.CUMULANTS`.

    Raises:
      UserError: a user's own family fails, or does not return an `Indicator` of T tasks; or these
        tasks cannot be standardised.
    """
    indicator = (
        _checked(name, family, num_tasks) if is_plugin(name) else family.indicator(num_tasks)
    )
    return standardised(indicator) if cumulants == "standardised" else indicator


def _checked(name: str, family: Family, num_tasks: int) -> Indicator:
    indicator = guarded("indicator", name, family.indicator)(num_tasks)
    if not (isinstance(indicator, Indicator) and indicator.num_tasks == num_tasks):
        given = getattr(indicator, "num_tasks", type(indicator).__name__)
        raise UserError(
            f"indicator {name}: gave {given}, expected a pvn.indicators.indicator.Indicator of "
            f"{num_tasks} tasks"
        )
    functions: dict[str, Any] = {
        key: guarded("indicator", name, value)
        for key, value in indicator._asdict().items()
        if callable(value)
    }
    cumulant = functions["cumulant"]

    def checked_cumulant(fitted: Params, response: jax.Array) -> jax.Array:
        values = jnp.asarray(cumulant(fitted, response), jnp.float32)  # from booleans too
        if values.shape != (len(response), num_tasks):
            raise UserError(
                f"indicator {name}: cumulant gave an array {list(values.shape)}, expected "
                f"{[len(response), num_tasks]}: {len(response)} states, {num_tasks} tasks"
            )
        return values

    return indicator._replace(**functions | {"cumulant": checked_cumulant})
