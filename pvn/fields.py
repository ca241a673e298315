"""Checks of settings: type, range, and the error message.

The owner of some settings declares them once, as a NamedTuple with a `Field` in each annotation:

    class Settings(NamedTuple):
        learning_rate: Annotated[float, real(0, inf, closed="()")] = 6.25e-5
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from pvn.errors import UserError
from pvn.storage.paths import normalise_paths


class Field(NamedTuple):
    """The check of one setting. `expected` completes the sentence "expected ..."."""

    kind: type
    holds: Callable[[Any], bool]
    expected: str
    convert: Callable[[Any, str], Any] | None = None  # (value, place) -> value; may raise UserError


def whole(low: int, high: int | None = None) -> Field:
    """A whole number of at least `low` and, unless None, at most `high`."""
    span = f"{low} or more" if high is None else f"from {low} to {high}"
    return Field(int, lambda x: x >= low and (high is None or x <= high), f"a whole number, {span}")


def real(low: float, high: float, *, closed: str) -> Field:
    """A number between `low` and `high`.

    closed: "[]", "[)", "(]" or "()"; a square bracket includes the limit.
    """

    def holds(x: float) -> bool:
        above = x >= low if closed[0] == "[" else x > low
        return above and (x <= high if closed[1] == "]" else x < high)

    return Field(float, holds, f"a number in {closed[0]}{low}, {high}{closed[1]}")


def wholes(low: int) -> Field:
    """A tuple of whole numbers of at least `low`; it may be empty."""

    def holds(numbers: tuple[Any, ...]) -> bool:
        return all(isinstance(x, int) and not isinstance(x, bool) and x >= low for x in numbers)

    return Field(tuple, holds, f"a tuple of whole numbers, {low} or more")


def positives() -> Field:
    """A tuple of finite numbers above 0; it may be empty."""

    def holds(numbers: tuple[Any, ...]) -> bool:
        return all(
            isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < float("inf")
            for x in numbers
        )

    return Field(tuple, holds, "a tuple of numbers above 0")


def discounts() -> Field:
    """A discount in [0, 1), or a tuple of them. It becomes a tuple. In float32 it must be below 1
    too."""

    def holds(given: Any) -> bool:
        numbers = given if isinstance(given, tuple) else (given,)
        real = all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers)
        return bool(numbers) and real and all(x >= 0 and np.float32(x) < 1 for x in numbers)

    def convert(given: Any, place: str) -> tuple[float, ...]:
        return tuple(float(x) for x in (given if isinstance(given, tuple) else (given,)))

    return Field(object, holds, "a number in [0, 1), or several: a,b", convert)


def choice(*names: str) -> Field:
    """One of `names`."""
    return Field(str, lambda x: x in names, "one of " + ", ".join(names))


def choice_or_own(*names: str) -> Field:
    """One of `names`, or a plugin: any name with a colon (see `pvn.plugins`)."""
    expected = f"one of {', '.join(names)}, path/to/file.py:Name or package.module:Name"
    return Field(str, lambda x: x in names or ":" in x, expected)


def text() -> Field:
    """A string that is not empty."""
    return Field(str, bool, "a string that is not empty")


def paths() -> Field:
    """Directories or `gs://bucket/path`, separated by commas. No path may occur twice.

    The value becomes the normalised paths (see `pvn.storage.paths`), again separated by commas.
    """

    def convert(text: str, place: str) -> str:
        return ",".join(normalise_paths(text, place))

    return Field(str, lambda text: True, "a directory, gs://bucket/path, or several: a,b", convert)


def flag() -> Field:
    """True or False."""
    return Field(bool, lambda x: True, "True or False")


SEED = whole(0, 2**31 - 1)
"""The range of every seed: the emulator, JAX and NumPy all accept it."""


def fields_of(settings: type) -> dict[str, Field]:
    """The fields that a NamedTuple of settings declares, by name.

    Raises:
      TypeError: an annotation is not `Annotated[type, Field]`.
    """
    found = {}
    hints = get_type_hints(settings, include_extras=True)
    for name in getattr(settings, "_fields", hints):
        hint = hints[name]
        fields = [x for x in get_args(hint)[1:] if isinstance(x, Field)]
        if get_origin(hint) is not Annotated or len(fields) != 1:
            raise TypeError(f"{settings.__name__}.{name}: expected Annotated[type, Field]")
        found[name] = fields[0]
    return found


def check_field(place: str, value: Any, field: Field) -> Any:
    """The value, converted to the field's type.

    place: where the value was given, such as `config.seed`; the error message begins with it.

    Raises:
      UserError: the value has a wrong type or is out of range.
    """
    kinds = (int, float) if field.kind is float else (field.kind,)
    fits = isinstance(value, kinds) and (field.kind is bool or not isinstance(value, bool))
    if not fits or not field.holds(value):
        raise UserError(f"{place}: {value!r}, expected {field.expected}")
    return field.convert(value, place) if field.convert else field.kind(value)


def check_seed(seed: int, place: str = "seed") -> int:
    """The seed, checked.

    Raises:
      UserError: the seed is outside the range of `SEED`; the message begins with `place`.
    """
    return int(check_field(place, seed, SEED))


Fields = Mapping[str, "Field | type"]
"""The fields of a config by name: a `Field`, or for a section the NamedTuple that owns it. All
settings of such a NamedTuple have defaults."""


def differing_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A string `name (old value, now new value)` for each field that differs.

    The name of a field in a section is `section.name`. A section that only one has is not spelled
    out.
    """
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += [f"{key}.{field}" for field in differing_fields(before, now)]
        elif before != now:
            was, is_now = (
                "a section" if isinstance(value, Mapping) else repr(value)
                for value in (before, now)
            )
            found.append(f"{key} ({was}, now {is_now})")
    return found
