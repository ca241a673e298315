"""The frozen convolutions in NumPy integers, an oracle."""

from typing import Any

import numpy as np

LARGE = (("conv2_d", (2, 2), 4, 9), ("conv2_d_1", (1, 2), 2, 8), ("conv2_d_2", (1, 1), 1, 8))
"""(name, padding, stride, right shift) of each convolution, for observations as Atari's."""
SMALL = (("conv2_d", (1, 1), 1, 1),)
"""The same for MinAtar's."""


def last_sums(
    params: Any, observation: np.ndarray, layers: tuple[tuple[Any, ...], ...]
) -> np.ndarray:
    """int64 [N, h, w, c]: the sums of the last convolution."""
    x = observation.astype(np.int64)
    shift = None
    for name, pad, stride, bits in layers:
        kernel = np.asarray(params[name]["w"])
        assert np.array_equal(kernel, np.round(kernel))
        x = x if shift is None else np.clip(x >> shift, 0, 1023)
        x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
        patches = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
        patches = patches[:, ::stride, ::stride]
        x = np.einsum("nijchw,hwco->nijo", patches, kernel.astype(np.int64), optimize=True)
        # For any states, float32 holds every sum exactly.
        largest = 255 if name == "conv2_d" else 1023
        assert largest * np.abs(kernel).sum(axis=(0, 1, 2)).max() < 2**24
        shift = bits
    return x
