"""Loads plugins: objects from a user's own code, `path/to/file.py:Name` or `package.module:Name`.

Encoders, indicator families, policies and probe targets can be plugins (docs/extending.md).
"""

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.util
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from pvn.errors import UserError
from pvn.neighbours import INSTALLED, PREFIX, is_neighbour, load_file, read_source

P = ParamSpec("P")
R = TypeVar("R")


def is_plugin(name: str) -> bool:
    """Whether a name is the name of a plugin. The names of pvn's own objects have no colon."""
    return ":" in name


def load_plugin(kind: str, name: str, known: Iterable[str] = (), folder: str | Path = ".") -> Any:
    """The object that `path/to/file.py:Name` or `package.module:Name` names.

    The file may import the files beside it. If one of them has changed since it was loaded, they
    are loaded again.

    Args:
      kind: the kind of object, for messages: "encoder", "indicator", "policy", "target".
      name: the name of the object.
      known: the names of pvn's own objects of this kind, for messages.
      folder: the folder that a relative file name starts from.

    Raises:
      UserError: there is no such file, module or object, or the user's code raises.
    """
    where, _, attribute = name.rpartition(":")
    if not where:
        ours = "".join(f"{each}, " for each in known)
        raise UserError(
            f"{kind} {name!r}: expected one of {ours}`path/to/file.py:Name` or "
            "`package.module:Name`"
        )
    with plugin_errors(kind, name, folder):
        if where.endswith(".py"):
            file = Path(folder) / where
            if not file.is_file():
                raise UserError(f"{kind} {name}: there is no file {file}")
            module = load_file(file)
        else:
            try:
                module = importlib.import_module(where)
            except ModuleNotFoundError as error:
                if f"{where}.".startswith(f"{error.name}."):
                    raise UserError(f"{kind} {name}: {error}") from None
                raise
        if not hasattr(module, attribute):
            raise UserError(f"{kind} {name}: {where} defines no {attribute!r}")
        return getattr(module, attribute)


@contextlib.contextmanager
def plugin_errors(kind: str, name: str, folder: str | Path = ".") -> Iterator[None]:
    """Turns an error of the user's code into one line: the file, the line and the error.

    If `name` is not the name of a plugin, errors do not change.

    Args:
      kind, name, folder: as in `load_plugin`.

    Raises:
      UserError: the code in the block raised.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if not is_plugin(name):
            raise
        text = str(error.msg if isinstance(error, SyntaxError) else error).strip()
        what = ": ".join([type(error).__name__, *text.splitlines()[:1]])
        what = re.sub(rf"{PREFIX}[0-9a-f]{{16}}\.", "", what)
        file = plugin_file(name)
        home = Path.cwd() if file is None else (Path(folder) / file).resolve().parent
        raise UserError(f"{kind} {name}: {_place(error, home)}{what}") from error


def guarded(
    kind: str, name: str, function: Callable[P, R], folder: str | Path = "."
) -> Callable[P, R]:
    """Wraps a function of a plugin: its errors become one line, as in `plugin_errors`.

    If `name` is not the name of a plugin, the function is returned without a change.

    Args:
      kind, name, folder: as in `load_plugin`.
      function: the function to wrap.
    """
    if not is_plugin(name):
        return function

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with plugin_errors(kind, name, folder):
            return function(*args, **kwargs)

    return wrapped


def plugin_file(name: str) -> Path | None:
    """The file in the name of a plugin; None for `package.module:Name`."""
    where = name.rpartition(":")[0]
    return Path(where) if where.endswith(".py") else None


class Sources(NamedTuple):
    """The source files of a plugin."""

    beside: dict[str, Path]  # path in the plugin's folder -> its file, and files that it imports
    elsewhere: dict[str, Path]  # dotted name -> another module of the user
    packages: list[str]  # top-level packages that it needs besides those of pvn, sorted


def plugin_sources(name: str, folder: str | Path = ".") -> Sources:
    """Finds the source files of a plugin by following its import statements.

    A file is the user's own unless it belongs to Python or pvn, or is installed in `site-packages`.
    Import statements in functions are followed; calls of `importlib.import_module` are not. The
    result is empty if `name` is not the name of a plugin.

    Args:
      name, folder: as in `load_plugin`.
    """
    sources = Sources({}, {}, [])
    file = plugin_file(name)
    home: Path | None = None
    waiting: list[tuple[Path, Path]] = []  # (folder that its imports start from, file)
    packages: set[str] = set()
    if file is not None:
        file = (Path(folder) / file).resolve()
        home = file.parent
        waiting = [(home, file)]
    elif is_plugin(name):
        where = name.rpartition(":")[0]
        top = where.partition(".")[0]
        packages |= {top} - INSTALLED
        waiting = [(root, file) for root in _own_roots(top) for file in _files_of(root, where)]
    seen: set[Path] = set()
    while waiting:
        root, file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        if root == home:
            sources.beside[file.relative_to(root).as_posix()] = file
        else:
            sources.elsewhere[_dotted(root, file)] = file
        for dotted, relative in _imports(root, file):
            top = dotted.partition(".")[0]
            if relative or (root == home and is_neighbour(root, top)):
                roots = [root]
            elif _is_there(top):
                packages.add(top)
                roots = _own_roots(top)
            else:
                roots = []
            waiting += [(r, f) for r in roots for f in _files_of(r, dotted)]
    sources.packages.extend(sorted(packages))
    return sources


def plugin_identity(name: str, folder: str | Path = ".") -> dict[str, str]:
    """SHA-256 of each of the user's files that a plugin consists of, by name, as it was loaded.

    It is part of a run's identity, because a changed plugin is a different one. It is empty for an
    object that is installed in `site-packages` or belongs to pvn.

    Args:
      name, folder: as in `load_plugin`.
    """
    sources = plugin_sources(name, folder)
    files = {**sources.beside, **sources.elsewhere}
    return {key: hashlib.sha256(read_source(files[key])).hexdigest() for key in sorted(files)}


def _place(error: BaseException, home: Path) -> str:
    """The innermost line of the user's code in a traceback, as `file, line 3: `; or empty."""
    places = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno or 0))
    own = [(Path(file), line) for file, line in places if _is_own(file)]
    if not own:
        return ""
    file, line = own[-1]
    return f"{file.relative_to(home) if file.is_relative_to(home) else file}, line {line}: "


def _is_own(file: str) -> bool:
    """Whether a source file is the user's own, not of Python, pvn or an installed package."""
    if file.startswith("<"):  # <frozen importlib._bootstrap>, <string>
        return False
    path = Path(file).resolve()
    theirs = (Path(sysconfig.get_path("stdlib")), Path(__file__).resolve().parent)
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return not installed and not any(path.is_relative_to(each) for each in theirs)


def _own_roots(top: str) -> list[Path]:
    """The folders that hold a top-level package or module, if it is the user's own."""
    if not _is_there(top):
        return []
    spec = importlib.util.find_spec(top)
    assert spec is not None
    places = spec.submodule_search_locations or [spec.origin or "<none>"]
    return [Path(place).resolve().parent for place in places if _is_own(place)]


def _is_there(top: str) -> bool:
    """Whether a top-level package exists and is not in `INSTALLED`."""
    try:
        return top not in INSTALLED and importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _files_of(root: Path, dotted: str) -> Iterator[Path]:
    """The files that `import dotted` runs if the folder `root` is searched."""
    place = root
    for part in dotted.split("."):
        package, module = place / part / "__init__.py", place / f"{part}.py"
        place = place / part
        if package.is_file():
            yield package
        elif module.is_file():
            yield module
            return
        elif not place.is_dir():
            return


def _imports(root: Path, file: Path) -> Iterator[tuple[str, bool]]:
    """Yields (dotted name, whether the import is relative and so below `root`) for each import."""
    try:
        tree = ast.parse(read_source(file))
    except SyntaxError:
        return  # importing the file raises this error, with its place
    package = file.parent.relative_to(root).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else ()
            module = [*start, *([node.module] if node.module else [])]
            for alias in node.names:
                yield ".".join([*module, alias.name]), node.level > 0


def _dotted(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
