"""Writes and reads trees of arrays: one .npz file, an entry for each leaf."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.storage.files import naming


def save_tree(file: Path, tree: Any) -> None:
    """Writes a tree of arrays to a new file.

    Raises:
      OSError: the disk is full or refuses; the error names the file.
    """
    arrays: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array, name = np.asarray(leaf), leaf_name(path)
        if array.dtype.kind == "V":  # bfloat16 and the like, which NumPy does not know
            name, array = f"{name}:{array.dtype.name}", array.view(f"u{array.dtype.itemsize}")
        arrays[name] = array
    with naming(file), file.open("wb") as stream:
        np.savez(stream, **arrays)


def restore_tree(file: Path, skeleton: Any) -> Any:
    """Reads the tree in a file, into the structure of `skeleton`.

    Args:
      file: written by `save_tree`.
      skeleton: a tree of arrays with the structure, shapes and dtypes of the saved one.

    Raises:
      ValueError: a leaf is missing, unknown, or has another shape or dtype; the message names it.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(skeleton)
    values = []
    with np.load(file, allow_pickle=False) as stored:
        entries = {entry.partition(":")[0]: entry for entry in stored.files}
        for path, leaf in leaves:
            name, expected = leaf_name(path), f"{leaf.dtype} {list(leaf.shape)}"
            if name not in entries:
                raise ValueError(f"it has no {name}, expected {expected}")
            array = stored[entry := entries.pop(name)]
            if ":" in entry:
                array = array.view(jnp.dtype(entry.partition(":")[2]))
            if (found := f"{array.dtype} {list(array.shape)}") != expected:
                raise ValueError(f"its {name} is {found}, expected {expected}")
            values.append(jnp.asarray(array))
    if entries:
        raise ValueError(f"it has {min(entries)}, which this run does not have")
    return jax.tree.unflatten(structure, values)


def leaf_name(path: Any) -> str:
    """The name of a leaf, such as `opt_state/1/mu`, from its JAX key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
