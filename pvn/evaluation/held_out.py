"""Which rows of a replay are held out of a fit."""

import numpy as np

GROUP_STEPS = 64  # consecutive timesteps of one environment; held out or fitted as a whole


def groups_of(time: np.ndarray, env: np.ndarray, num_envs: int) -> np.ndarray:
    """The group of each row, int64 [...]: 64 consecutive timesteps of an environment.

    Consecutive timesteps are correlated, so a group is held out as a whole.

    Args:
      time, env: int [...], which broadcast.
      num_envs: E.
    """
    return np.asarray((time // GROUP_STEPS) * num_envs + env)
