"""What every function of observations expects."""

from typing import Any

import numpy as np

from pvn.errors import UserError
from pvn.networks.encoders import OBSERVATION_SHAPE


def check_observation(observation: Any) -> None:
    """Raises `UserError` unless `observation` is uint8 [N, 84, 84, 4]."""
    shape, dtype = np.shape(observation), getattr(observation, "dtype", type(observation))
    if len(shape) != 4 or shape[1:] != OBSERVATION_SHAPE or dtype != np.uint8:
        raise UserError(
            f"observations are {dtype} {list(shape)}, expected uint8 [N, 84, 84, 4] "
            "(unscaled, newest frame last)"
        )
