"""The flag --config, and the check of a config where it enters: names, types and ranges."""

import sys
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from pvn.errors import UserError
from pvn.fields import Field, Fields, check_field, fields_of


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


def name_in(config: ml_collections.ConfigDict, field: str, expected: Field) -> str:
    """A name that has to be known before the rest of the config can be checked.

    Raises:
      UserError: as `check_config`, for this field alone.
    """
    try:
        given = config.to_dict().get(field)
    except OSError as error:
        raise UserError(unreadable_config(error)) from None
    return str(check_field(f"config.{field}", given, expected))


def check_config(
    config: ml_collections.ConfigDict, fields: Fields
) -> ml_collections.FrozenConfigDict:
    """The config, frozen, if its fields are exactly `fields` and each holds what it may.

    A section (`config.dqn`) or a field of one may be left out: its owner's default is filled in.

    Raises:
      UserError: naming the first field that is missing, unknown, of a wrong type or out of range.
    """
    try:
        values = config.to_dict()
    except OSError as error:
        raise UserError(unreadable_config(error)) from None
    for name, field in fields.items():
        if isinstance(field, Field):
            if name not in values:
                raise UserError(f"config.{name}: is missing, expected {field.expected}")
        else:
            values[name] = _check_section(f"config.{name}", values.get(name, {}), field)
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"config.{name}: there is no such field")
        if isinstance(field := fields[name], Field):
            values[name] = check_field(f"config.{name}", value, field)
    return ml_collections.FrozenConfigDict(values)


def _check_section(place: str, given: Any, settings: Any) -> dict[str, Any]:
    known = fields_of(settings)
    if not isinstance(given, dict):
        raise UserError(f"{place}: {given!r}, expected the fields {', '.join(known)}")
    for name in given:
        if name not in known:
            raise UserError(f"{place}.{name}: there is no such field")
    checked = {name: check_field(f"{place}.{name}", x, known[name]) for name, x in given.items()}
    return settings()._asdict() | checked
