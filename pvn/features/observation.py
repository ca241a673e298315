"""What every function of observations expects."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pvn.errors import UserError
from pvn.types import ATARI


def shape_of(metadata: Mapping[str, Any]) -> tuple[int, ...]:
    """(H, W, C) of the observations that features.json describes; older ones are of Atari."""
    return tuple(metadata.get("observation_shape", ATARI.shape))


def check_observation(observation: Any, expected: Sequence[int]) -> None:
    """Raises `UserError` unless `observation` is uint8 [N, H, W, C] with this (H, W, C)."""
    shape, dtype = np.shape(observation), getattr(observation, "dtype", type(observation))
    if len(shape) != 4 or shape[1:] != tuple(expected) or dtype != np.uint8:
        sizes = ", ".join(map(str, expected))
        raise UserError(
            f"observations are {dtype} {list(shape)}, expected uint8 [N, {sizes}] "
            "(unscaled, newest frame last)"
        )
