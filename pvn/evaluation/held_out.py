"""Which rows of a replay are held out of a fit."""

import numpy as np

GROUP_STEPS = 64  # consecutive timesteps of one environment
_DEALT = 5


def groups_of(time: np.ndarray, env: np.ndarray, num_envs: int) -> np.ndarray:
    """The group of each row, int64 [...]: 64 consecutive timesteps of an environment.

    Consecutive timesteps are correlated, so a group is held out as a whole.

    Args:
      time, env: int [...], which broadcast.
      num_envs: E.
    """
    return np.asarray((time // GROUP_STEPS) * num_envs + env)


def draw_groups(number: int, seed: int, share: float) -> np.ndarray:
    """bool [number]: the groups that are held out. The seed alone decides, also for fewer groups.

    share: of the groups, on average.
    """
    return np.asarray(np.random.default_rng([seed, 2]).random(number) < share)


def deal(group: np.ndarray) -> np.ndarray:
    """A number from 0 to 4 for each row, for where a draw of groups gave nothing: groups in turn.

    With fewer than five groups, timesteps in turn.

    Args:
      group: int [T, ...], of each row.
    """
    distinct, turn = np.unique(group, return_inverse=True)
    if len(distinct) < _DEALT:
        turn = np.repeat(np.arange(len(group)), group[0].size)
    return np.asarray(turn.reshape(group.shape) % _DEALT)


def choose_held_out(
    time: np.ndarray, env: np.ndarray, num_envs: int, seed: int, share: float
) -> np.ndarray:
    """bool [M]: whether each row [M] is held out; at least one is, and at least one is not."""
    group = groups_of(time, env, num_envs)
    held_out = draw_groups(int(group.max()) + 1, seed, share)[group]
    if held_out.all() or not held_out.any():
        held_out = deal(group) == 0
    return np.asarray(held_out)
