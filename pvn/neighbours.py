"""Runs a user's Python file so that it can import its neighbours: the files beside it.

Each folder becomes a package with a private name. An import statement in a file of the folder
searches the folder first. `sys.path` does not change. Files of the same name in two folders are
therefore different modules, even if a function imports them later. Each file is run only once.
"""

import builtins
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PREFIX = "pvn_plugin_"
"""The prefix of the private names of folders."""

INSTALLED = frozenset(
    ("pvn", "jax", "jaxlib", "flax", "haiku", "optax", "chex", "numpy", "scipy")
) | frozenset(sys.stdlib_module_names)
"""Packages that are always available. A file of the same name never replaces one of them."""

_files: dict[str, str] = {}  # private module name -> the file in the name of a plugin


def load_file(file: Path) -> ModuleType:
    """Loads a user's file as a module. If a file of its folder changed, all are loaded again.

    Raises:
      Exception: any error that the file raises.
    """
    file = file.resolve()
    package = PREFIX + hashlib.sha256(str(file.parent).encode()).hexdigest()[:16]
    loaded = [key for key in sys.modules if f"{key}.".startswith(f"{package}.")]
    if any(_changed(sys.modules[key]) for key in loaded):
        for key in loaded:
            del sys.modules[key]
    if package not in sys.modules:
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(file.parent)]
        sys.modules[package] = importlib.util.module_from_spec(spec)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    importlib.invalidate_caches()
    # A dot in a file name would split the module name.
    name = f"{package}.{file.stem.replace('.', '_dot_')}"
    _files[name] = str(file)
    return importlib.import_module(name)


def read_source(file: Path) -> bytes:
    """The content of a user's file when it was loaded. If it is not loaded, its content on disk."""
    for name, module in list(sys.modules.items()):
        if name.startswith(PREFIX):
            loader = getattr(module.__spec__, "loader", None)
            if isinstance(loader, _Loader) and loader.path == str(file) and loader.source:
                return loader.source
    return file.read_bytes()


def is_neighbour(folder: Path, top: str) -> bool:
    """Whether `import top` in a file of `folder` imports a file or folder of `folder`."""
    if top in INSTALLED:
        return False
    if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
        return True
    # A folder without __init__.py is a package only if no other package has its name.
    return (folder / top).is_dir() and not _is_regular(top)


def _is_regular(top: str) -> bool:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


class _Loader(SourceFileLoader):
    """Runs the current content of a file, with an import statement that finds its neighbours."""

    source: bytes | None = None

    def get_code(self, fullname: str) -> CodeType:
        # __pycache__ is not used: it misses an edit of the same length in the same second.
        self.source = self.get_data(self.path)
        return self.source_to_code(self.source, self.path)

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        statement = functools.partial(_import, package)
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": statement}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX) or path is None:
            return None
        if fullname in _files:
            file = _files[fullname]
            return importlib.util.spec_from_file_location(
                fullname, file, loader=_Loader(fullname, file)
            )
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


_finder = _Finder()


def _import(
    package: str,
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Implements the import statement in files of the folder with the private name `package`."""
    top = name.partition(".")[0]
    folder = Path(sys.modules[package].__path__[0])
    loaded = f"{package}.{top}" in sys.modules and top not in INSTALLED  # its file may be deleted
    if level == 0 and (loaded or is_neighbour(folder, top)):
        found = builtins.__import__(f"{package}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{package}.{top}"]
    return builtins.__import__(name, globals, locals, fromlist or (), level)


def _changed(module: ModuleType) -> bool:
    """Whether the module's file differs from the content that was run."""
    loader = getattr(module.__spec__, "loader", None)
    if not isinstance(loader, _Loader):
        return False
    try:
        return loader.get_data(loader.path) != loader.source
    except OSError:
        return True
