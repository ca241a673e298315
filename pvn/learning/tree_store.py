"""Writes and reads trees of arrays with Orbax. Errors are one line, and name the leaf."""

import errno
import inspect
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

# Errors of a disk that is full or may not be written.
_REFUSALS = (*(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO),)


def save_tree(folder: Path, tree: Any) -> None:
    """Writes a tree of arrays to a new folder.

    Raises:
      OSError: the disk is full or refuses; the error names the folder.
    """
    try:
        with _quiet(), ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder.absolute(), tree)
    except Exception as error:
        if (refusal := _refusal(error)) is None:
            raise
        refused = OSError(refusal, os.strerror(refusal), str(folder))
    else:
        return
    raise refused


def restore_tree(folder: Path, skeleton: Any, renamed: Mapping[str, str] | None = None) -> Any:
    """Reads the tree in a folder, into the structure of `skeleton`.

    Args:
      folder: written by `save_tree`.
      skeleton: a tree of arrays with the structure, shapes and dtypes of the saved one.
      renamed: the name of a leaf -> its name in the folder, if that is older; such as
        `totals/loss` -> `totals/td_loss`. Only keys of dictionaries can be renamed.

    Raises:
      ValueError: a leaf is missing, unknown, or has another shape or dtype; the message names it.
    """
    renamed = renamed or {}
    leaves, structure = jax.tree_util.tree_flatten_with_path(skeleton)
    names = [leaf_name(path) for path, _ in leaves]
    stored_names = [renamed.get(name, name) for name in names]
    with ocp.StandardCheckpointer() as checkpointer:
        metadata = checkpointer.metadata(folder.absolute()).item_metadata.tree
        stored = {
            leaf_name(path): leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(metadata)[0]
        }
        for name, (_, leaf) in zip(stored_names, leaves, strict=True):
            expected = f"{leaf.dtype} {list(leaf.shape)}"
            if name not in stored:
                raise ValueError(f"it has no {name}, expected {expected}")
            found = f"{stored[name].dtype} {list(stored[name].shape)}"
            if found != expected:
                raise ValueError(f"its {name} is {found}, expected {expected}")
        if unknown := sorted(stored.keys() - set(stored_names)):
            raise ValueError(f"it has {unknown[0]}, which this run does not have")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, skeleton)
        tree = checkpointer.restore(folder.absolute(), _rename(abstract, renamed))
    values = {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
    return jax.tree.unflatten(structure, [values[name] for name in stored_names])


def leaf_name(path: Any) -> str:
    """The name of a leaf, such as `opt_state/1/mu`, from its JAX key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _rename(tree: Any, renamed: Mapping[str, str], prefix: str = "") -> Any:
    """The tree with some keys of dictionaries renamed. renamed: as in `restore_tree`."""
    if isinstance(tree, Mapping):
        return {
            renamed.get(prefix + key, prefix + key).rpartition("/")[2]: _rename(
                value, renamed, f"{prefix}{key}/"
            )
            for key, value in tree.items()
        }
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        fields = zip(tree._fields, tree, strict=True)
        return type(tree)(*(_rename(value, renamed, f"{prefix}{key}/") for key, value in fields))
    if isinstance(tree, tuple | list):
        return type(tree)(_rename(x, renamed, f"{prefix}{i}/") for i, x in enumerate(tree))
    return tree


def _refusal(error: BaseException | None) -> int | None:
    """The errno if an error, or the error that caused it, is one of `_REFUSALS`; else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            return error.errno
        for number in _REFUSALS:
            if os.strerror(number) in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the tracebacks of Orbax's threads; the error itself is raised here.

    Orbax writes arrays at the same time. If one write fails, Orbax abandons the others, and each of
    these prints a traceback, some of them later. So after an error they stay suppressed.
    """
    hooks = sys.unraisablehook, threading.excepthook
    verbosity = logging.get_verbosity()

    def unraisablehook(event: Any) -> None:
        abandoned = inspect.iscoroutine(event.object)
        if not abandoned and str(event.exc_value) != "Event loop is closed":
            hooks[0](event)

    sys.unraisablehook = unraisablehook
    threading.excepthook = lambda _: None
    logging.set_verbosity(logging.FATAL)
    try:
        yield
        sys.unraisablehook = hooks[0]
    finally:
        threading.excepthook = hooks[1]
        logging.set_verbosity(verbosity)
