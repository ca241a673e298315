"""Defines the flag --config, flags for paths and seeds, and the check of a config."""

import difflib
import re
import sys
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from pvn.errors import UserError
from pvn.fields import SEED, Field, Fields, check_field, fields_of
from pvn.storage.paths import normalise_path, normalise_paths

flags.disclaim_key_flags()  # --help lists these flags under the command that calls


def define_config(default: str) -> flags.FlagHolder:
    """Defines --config, a Python file with `get_config()`. --config.name=value sets a field.

    default: the file without the flag.
    """
    # ml_collections needs the file before the first field. A default value would make it read the
    # fields at import. Therefore the flag moves to the front of the command line.
    words = [i for i, word in enumerate(sys.argv) if word.split("=")[0] in ("--config", "-config")]
    taken = [f"--config={default}"]
    if words:
        count = 1 if "=" in sys.argv[words[0]] else 2
        taken = sys.argv[words[0] : words[0] + count]
        del sys.argv[words[0] : words[0] + count]
    sys.argv[1:1] = taken
    return config_flags.DEFINE_config_file("config", None, f"The experiment. Default: {default}")


class _PathParser(flags.ArgumentParser[str]):
    def __init__(self, name: str, words: Sequence[str], local: bool):
        self.syntactic_help = f"a path, or one of {', '.join(words)}" if words else "a path"
        self._name, self._words, self._local = name, words, local

    def parse(self, argument: str) -> str:
        if argument in self._words:
            return argument
        return normalise_path(argument, f"--{self._name}", local=self._local)


class _PathsParser(flags.ArgumentParser[list[str]]):
    syntactic_help = "paths, comma-separated"

    def __init__(self, name: str):
        self._name = name

    def parse(self, argument: str) -> list[str]:
        return list(normalise_paths(argument, f"--{self._name}"))


class _SeedParser(flags.ArgumentParser[int]):
    syntactic_help = SEED.expected

    def __init__(self, name: str):
        self._name = name

    def parse(self, argument: str | int) -> int:
        text = str(argument)
        seed = int(text) if re.fullmatch(r"-?\d{1,30}", text) else text
        return int(check_field(f"--{self._name}", seed, SEED))


class _StepsParser(flags.ArgumentParser[tuple[int, int]]):
    syntactic_help = "FIRST:LAST, steps counted from 1"

    def __init__(self, name: str):
        self._name = name

    def parse(self, argument: str) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,12}):(\d{1,12})", argument)
        first, last = map(int, found.groups()) if found else (0, 0)
        if not 1 <= first <= last:
            raise UserError(f"--{self._name}: {argument}, expected FIRST:LAST, such as 100:110")
        return first, last


def define_path(
    name: str,
    default: str | None,
    help_text: str,
    *,
    required: bool = False,
    words: Sequence[str] = (),
    local: bool = True,
) -> flags.FlagHolder[str]:
    """Defines a flag that holds a path.

    Args:
      name, default, help_text, required: as in `absl.flags`.
      words: values that are not paths, such as `random`. Any other value is normalised (see
        `pvn.storage.paths`).
      local: whether `gs://` is refused.
    """
    parser = _PathParser(name, words, local)
    return flags.DEFINE(parser, name, default, help_text, required=required)


def define_paths(name: str, help_text: str, *, required: bool = False) -> flags.FlagHolder[Any]:
    """Defines a flag that holds different paths, comma-separated. Each is normalised."""
    return flags.DEFINE(_PathsParser(name), name, None, help_text, required=required)


def define_seed(help_text: str) -> flags.FlagHolder[int]:
    """Defines --seed: an integer in the range of `pvn.fields.SEED`. The default is 0."""
    return flags.DEFINE(_SeedParser("seed"), "seed", 0, help_text)


def define_steps(name: str, help_text: str) -> flags.FlagHolder[Any]:
    """Defines a flag that holds steps FIRST:LAST, (int, int) with 1 <= FIRST <= LAST; or None."""
    return flags.DEFINE(_StepsParser(name), name, None, help_text)


def values_of(config: Any) -> dict[str, Any]:
    """The fields of --config by name; a section is a dictionary.

    Raises:
      UserError: the file cannot be loaded. ml_collections says so when the config is used.
    """
    try:
        return dict(config.to_dict())
    except (OSError, AttributeError):
        if line := _file_error(sys.argv):
            raise UserError(line) from None
        raise


def _config_file(argv: Sequence[str]) -> str:
    _, equals, file = argv[1].partition("=")  # `define_config` puts --config first
    return file if equals else argv[2]


def _file_error(argv: Sequence[str]) -> str | None:
    """What is wrong with the file of --config; None if it can be loaded."""
    file = _config_file(argv)
    try:
        parser: Any = flags.FLAGS["config"].parser
        parser.parse(file).to_dict()
        return None
    except SyntaxError as error:
        return f"--config={error.filename}: line {error.lineno} is not Python, {error.msg}"
    except OSError as error:
        reason = str(error.__cause__ or error).splitlines()[-1].strip()
    except Exception as error:  # whatever the file raises
        reason = _reason(error, file)
    return (
        f"--config={file}: cannot be loaded ({reason}), expected a Python file whose get_config() "
        "returns an ml_collections.ConfigDict"
    )


def _reason(error: BaseException, file: str) -> str:
    """An error of a config file, with the line of the file that raised it."""
    while "Error whilst parsing config file" in str(error) and error.__context__:
        error = error.__context__  # ml_collections raises another, whose message is the traceback
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if Path(frame.f_code.co_filename).resolve() == Path(file).resolve()
    ]
    return f"line {lines[-1]}: {error!r}" if lines else repr(error)


def check_has_effect(sections: Collection[str], used: str, because: str) -> None:
    """Checks the fields that the command line sets in sections of which one is read.

    Args:
      sections: names of the sections.
      used: the one that is read.
      because: what decides it, for the message.

    Raises:
      UserError: a field of another section is set.
    """
    for name in config_flags.get_override_values(flags.FLAGS["config"]):
        if (section := name.partition(".")[0]) in sections and section != used:
            raise UserError(f"config.{name}: has no effect with {because}")


def name_in(config: ml_collections.ConfigDict, field: str, expected: Field) -> str:
    """Reads a field that must be known before the rest of the config can be checked.

    Raises:
      UserError: as in `check_config`, but only for this field.
    """
    return str(check_field(f"config.{field}", values_of(config).get(field), expected))


def flag_error(error: Exception, argv: Sequence[str]) -> str:
    """A message of one line for an error that absl or ml_collections raises while it reads flags.

    argv: the command line.
    """
    text = str(error.args[0] if error.args else error).strip()
    lines = [line.strip() for line in text.splitlines()]
    if "config" in flags.FLAGS and (line := _file_error(argv)):
        return line
    if isinstance(error, AttributeError | KeyError):  # a config field that does not exist
        name, *_ = re.findall(r"\w+", text)
        return _missing_field(argv) or f"config.{name}: there is no such field"
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def _missing_field(argv: Sequence[str]) -> str | None:
    """A message about the first field on the command line that the config lacks."""
    config = flags.FLAGS["config"].parser.parse(_config_file(argv))
    for word in argv:
        name = word.partition("=")[0].lstrip("-").removeprefix("no")
        if not word.startswith("-") or not name.startswith("config."):
            continue
        node, parts = config, name.split(".")[1:]
        for depth, part in enumerate(parts, 1):
            if not isinstance(node, ml_collections.ConfigDict) or part not in node:
                known = node if isinstance(node, ml_collections.ConfigDict) else ()
                return _no_such_field(".".join(["config", *parts[:depth]]), known)
            node = node[part]
    return None


def check_config(
    config: ml_collections.ConfigDict, fields: Fields
) -> ml_collections.FrozenConfigDict:
    """Checks that a config has exactly these fields with valid values. Returns it frozen.

    A section (`config.dqn`), or a field of a section, may be left out. It then gets its default.

    Raises:
      UserError: a field is missing, unknown, of a wrong type or out of range. The message names the
        first such field.
    """
    values = values_of(config)
    for name, field in fields.items():
        if isinstance(field, Field):
            if name not in values:
                raise UserError(f"config.{name}: is missing, expected {field.expected}")
        else:
            values[name] = _check_section(f"config.{name}", values.get(name, {}), field)
    for name, value in values.items():
        if name not in fields:
            raise UserError(_no_such_field(f"config.{name}", fields))
        if isinstance(field := fields[name], Field):
            values[name] = check_field(f"config.{name}", value, field)
    return ml_collections.FrozenConfigDict(values)


def _no_such_field(place: str, known: Collection[str]) -> str:
    """A message that offers the nearest of the known names beside it, or all if they are few."""
    near = difflib.get_close_matches(place.rpartition(".")[2], known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if not near and 0 < len(known) <= 12:
        hint = f"; expected {', '.join(known)}"
    return f"{place}: there is no such field{hint}"


def _check_section(place: str, given: Any, settings: Any) -> dict[str, Any]:
    known = fields_of(settings)
    if not isinstance(given, dict):
        raise UserError(f"{place}: {given!r}, expected the fields {', '.join(known)}")
    for name in given:
        if name not in known:
            raise UserError(_no_such_field(f"{place}.{name}", known))
    checked = {name: check_field(f"{place}.{name}", x, known[name]) for name, x in given.items()}
    return settings()._asdict() | checked
