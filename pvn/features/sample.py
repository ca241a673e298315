"""A sample of what the features give, to check them elsewhere: sample.safetensors.

It holds `observation` uint8 [2, H, W, C] and `features` float32 [2, F]. Whoever loads the
weights, in any framework, can compare.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from pvn.errors import UserError
from pvn.features.features import Features
from pvn.features.tensors import load_arrays

FILE = "sample.safetensors"

TOLERANCE = 0.02
"""Largest difference, as a share of the largest feature. Accelerators round products to 8 to 11
bits; another architecture, scaling or order of the frames differs by far more."""


def sample_observation(shape: Sequence[int]) -> np.ndarray:
    """uint8 [2, H, W, C]: two fixed patterns, one smooth and moving, one rough.

    shape: (H, W, C).
    """
    height, width, channels = shape
    row, column, frame = np.ogrid[:height, :width, :channels]
    smooth = (row + 2 * column + 8 * frame) % 256
    rough = (row * 7919 + column * 104_729 + frame * 1_299_709 + row * column * 31) % 251
    return np.stack(np.broadcast_arrays(smooth, rough)).astype(np.uint8)


def sample_tensors(features: Features) -> dict[str, np.ndarray]:
    """The content of sample.safetensors."""
    observation = sample_observation(features.observation_shape)
    out = jax.jit(features.apply)(features.params, observation)
    return {"observation": observation, "features": np.asarray(out, np.float32)}


def read_sample(
    file: Path, raw: bytes, num_features: int, shape: Sequence[int]
) -> dict[str, np.ndarray]:
    """The tensors of sample.safetensors, whose bytes are `raw`. shape: (H, W, C).

    Raises:
      UserError: it is not a safetensors file, or lacks a tensor; the message names it.
    """
    tensors = load_arrays(file, raw)
    expected = {
        "observation": ("uint8", [2, *shape]),
        "features": ("float32", [2, num_features]),
    }
    for name, (dtype, shape) in expected.items():
        given = "none"
        if name in tensors:
            given = f"{tensors[name].dtype} {list(tensors[name].shape)}"
        if given != f"{dtype} {shape}":
            raise UserError(f"features {file}: tensor {name} is {given}, expected {dtype} {shape}")
    return tensors


def difference(features: Features, tensors: dict[str, np.ndarray]) -> float:
    """The largest difference of a feature from the sample, as a share of the largest feature.

    It is NaN if a feature is not finite.
    """
    out = np.asarray(jax.jit(features.apply)(features.params, tensors["observation"]), np.float32)
    stored = tensors["features"]
    scale = np.abs(stored).max(initial=np.finfo(np.float32).tiny)
    return float(np.abs(out - stored).max(initial=0.0) / scale)
