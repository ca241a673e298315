"""Parameters as the tensors of a safetensors file. Reading one never runs code from it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import load

from pvn.errors import UserError


def read_verified(file: Path, sha256: str | None) -> bytes:
    """The bytes of a file whose SHA-256 features.json holds.

    Raises:
      UserError: it cannot be read, or has another SHA-256.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"features {file}: {error.strerror}") from None
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise UserError(f"features {file}: is corrupt: its SHA-256 is not that in features.json")
    return raw


def read_tensors(file: Path, raw: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, float32.

    Raises:
      UserError: it is not a safetensors file, or an array in it is not float32.
    """
    try:
        tensors = deserialize(raw)
    except SafetensorError as error:
        text = str(error).removeprefix("Error while deserializing: ")
        raise UserError(f"features {file}: is not a safetensors file ({text})") from None
    for name, tensor in sorted(tensors):
        if tensor["dtype"] != "F32":
            raise UserError(f"features {file}: parameter {name} is {tensor['dtype']}, expected F32")
    return {
        name: np.frombuffer(tensor["data"], "<f4").reshape(tensor["shape"])
        for name, tensor in tensors
    }


def load_arrays(file: Path, raw: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, of any dtype that NumPy has.

    Raises:
      UserError: it is not a safetensors file, or NumPy has no such dtype.
    """
    try:
        return load(raw)
    except SafetensorError as error:
        raise UserError(f"features {file}: is not a safetensors file ({error})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"features {file}: holds a dtype that NumPy lacks ({error})") from None


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of a tree as {"prefix.a.b": leaf}, in the order of `jax.tree.leaves`.

    Names of modules contain no dot.
    """
    flat = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        flat[".".join(filter(None, (prefix, name)))] = leaf
    return flat


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `flatten`, for nested dictionaries."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        inner = nested
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[leaf] = value
    return nested
