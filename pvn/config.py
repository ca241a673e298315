"""The flag --config, and the check of a config where it enters: names, types and ranges."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_collections
from absl import flags
from ml_collections import config_flags

from pvn.errors import UserError


def define_config(default: str) -> flags.FlagHolder:
    """The flag --config: a Python file with `get_config()`, whose fields --config.name=value set.

    Without the flag the file is `default`.
    """
    # ml_collections wants the file before the first field, and would read fields at import if it
    # were given a default: the flag goes to the front of the command line.
    words = [i for i, word in enumerate(sys.argv) if word.split("=")[0] in ("--config", "-config")]
    taken = [f"--config={default}"]
    if words:
        count = 1 if "=" in sys.argv[words[0]] else 2
        taken = sys.argv[words[0] : words[0] + count]
        del sys.argv[words[0] : words[0] + count]
    sys.argv[1:1] = taken
    return config_flags.DEFINE_config_file("config", None, f"The experiment. Default: {default}")


def unreadable_config(error: OSError) -> str:
    """One line for ml_collections' complaint about a file, which it raises at the first use."""
    *_, file, _ = (line.strip() for line in str(error).strip().splitlines())
    return f"--config={file}: cannot be loaded, expected a Python file with get_config()"


class Field(NamedTuple):
    """What a config field may be. `expected` completes the sentence "expected ..."."""

    kind: type
    holds: Callable[[Any], bool]
    expected: str


def whole(low: int, high: int | None = None) -> Field:
    """A whole number from `low` (to `high`)."""
    span = f"{low} or more" if high is None else f"from {low} to {high}"
    return Field(int, lambda x: x >= low and (high is None or x <= high), f"a whole number, {span}")


def real(low: float, high: float, *, closed: str) -> Field:
    """A number between `low` and `high`; `closed` is "[]", "[)", "(]" or "()"."""

    def holds(x: float) -> bool:
        above = x >= low if closed[0] == "[" else x > low
        return above and (x <= high if closed[1] == "]" else x < high)

    return Field(float, holds, f"a number in {closed[0]}{low}, {high}{closed[1]}")


def wholes(low: int) -> Field:
    """A tuple of whole numbers from `low`, perhaps empty."""

    def holds(numbers: tuple[Any, ...]) -> bool:
        return all(isinstance(x, int) and not isinstance(x, bool) and x >= low for x in numbers)

    return Field(tuple, holds, f"a tuple of whole numbers, {low} or more")


def positives() -> Field:
    """A tuple of numbers above 0, perhaps empty."""

    def holds(numbers: tuple[Any, ...]) -> bool:
        return all(isinstance(x, int | float) and 0 < x < float("inf") for x in numbers)

    return Field(tuple, holds, "a tuple of numbers above 0")


def choice(*names: str) -> Field:
    """One of `names`."""
    return Field(str, lambda x: x in names, "one of " + ", ".join(names))


def text() -> Field:
    """A string that is not empty."""
    return Field(str, bool, "a string that is not empty")


def flag() -> Field:
    """True or False."""
    return Field(bool, lambda x: True, "True or False")


def check_config(
    config: ml_collections.ConfigDict, fields: Mapping[str, Field]
) -> ml_collections.FrozenConfigDict:
    """The config, frozen, if its fields are exactly `fields` and each holds what it may.

    Raises:
      UserError: naming the first field that is missing, unknown, of a wrong type or out of range.
    """
    try:
        values = config.to_dict()
    except OSError as error:
        raise UserError(unreadable_config(error)) from None
    for name in fields:
        if name not in values:
            raise UserError(f"config.{name}: is missing, expected {fields[name].expected}")
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"config.{name}: there is no such field")
        kind, holds, expected = fields[name]
        kinds = (int, float) if kind is float else (kind,)
        fits = isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))
        if not fits or not holds(value):
            raise UserError(f"config.{name}: {value!r}, expected {expected}")
        values[name] = kind(value)
    return ml_collections.FrozenConfigDict(values)
