"""A person's own things: `path/to/file.py:Name` or `package.module:Name`, loaded in one way.

Encoders, indicator families, policies and probe targets all come in by here (docs/extending.md).
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pvn.errors import UserError


def is_plugin(name: str) -> bool:
    """Whether a name is that of a person's own thing, and not one of ours."""
    return ":" in name


def load_plugin(kind: str, name: str, known: Iterable[str] = (), folder: str | Path = ".") -> Any:
    """The object that `path/to/file.py:Name` or `package.module:Name` names.

    Args:
      kind: what it is to be, for messages: "encoder", "indicator", "policy", "target".
      name: of the object.
      known: names of ours, which a person may have meant.
      folder: what a relative file name is relative to.

    Raises:
      UserError: there is no such file, module or object in it.
    """
    where, _, attribute = name.rpartition(":")
    if not where:
        ours = "".join(f"{each}, " for each in known)
        raise UserError(
            f"{kind} {name!r}: expected one of {ours}`path/to/file.py:Name` or "
            "`package.module:Name`"
        )
    if where.endswith(".py"):
        file = Path(folder) / where
        if not file.is_file():
            raise UserError(f"{kind} {name}: there is no file {file}")
        # Dataclasses, and so Flax modules, look their module up by its name.
        unique = "pvn_plugin_" + hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
        spec = importlib.util.spec_from_file_location(unique, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[unique] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise UserError(f"{kind} {name}: {error}") from None
    if not hasattr(module, attribute):
        raise UserError(f"{kind} {name}: {where} defines no {attribute!r}")
    return getattr(module, attribute)


def plugin_file(name: str) -> Path | None:
    """The file that the name of a person's own thing points to, if it does."""
    where = name.rpartition(":")[0]
    return Path(where) if where.endswith(".py") else None


def plugin_identity(name: str, folder: str | Path = ".") -> dict[str, str]:
    """SHA-256 of each of the person's files that a loaded plugin is made of, by name.

    Empty for a thing of ours. Part of a run's identity: a plugin that changed is another.
    """
    file = plugin_file(name)
    if file is None:
        return {}
    file = Path(folder) / file
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
