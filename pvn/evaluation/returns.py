"""Returns of all rows of a replay: the n-step return, and the return to the end of the episode."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pvn.evaluation.state import State


class Returns(NamedTuple):
    """A return for each row: reward + discount * (a value of the row (at, e)). Arrays [T, E]."""

    reward: np.ndarray  # float64, the discounted sum of the rewards
    discount: np.ndarray  # float64, gamma^(number of rewards), or 0 where the game ended
    at: np.ndarray  # int64, the timestep where the sum stopped

    @property
    def usable(self) -> np.ndarray:
        """bool [T, E]: rows whose return holds a reward. A truncated row's next state is unknown,
        and so is that of the last timestep, unless the game ended there."""
        return (self.at > np.arange(len(self.at))[:, None]) | (self.discount == 0)


def compute_returns(rows: State, discount: float, n_step: int | None) -> Returns:
    """The returns of T timesteps of E environments.

    The sum stops where the game ends, and before a row whose next state is not stored (a truncated
    row, or the last timestep), with which it then bootstraps.

    Args:
      rows: `Replay.rows`; `reward`, `terminal` and `truncated` [T, E].
      discount: gamma of one timestep, below 1.
      n_step: number of rewards to sum; None for all rewards up to the end of the episode.
    """
    reward = np.asarray(rows["reward"], np.float64)
    terminal = rows["terminal"] & ~rows["truncated"]
    last = np.arange(len(reward))[:, None] == len(reward) - 1
    stops = rows["truncated"] | (last & ~terminal)
    if n_step is None:
        return _sum_to_end(reward, terminal, stops, discount)
    return _sum_steps(reward, terminal, stops, discount, n_step)


def _sum_to_end(
    reward: np.ndarray, terminal: np.ndarray, stops: np.ndarray, discount: float
) -> Returns:
    length = len(reward)
    time = np.arange(length)[:, None]
    ends = np.where(terminal | stops, time, length)  # the last timestep ends somehow
    at = np.minimum.accumulate(ends[::-1])[::-1]
    total, scale = np.where(stops, 0, reward), np.where(terminal, 0.0, 1.0)
    # All rows at the same distance from their end, from the nearest on.
    distance = (at - time).ravel()
    by_distance = np.argsort(distance, kind="stable")
    edges = np.searchsorted(distance[by_distance], np.arange(1, distance.max() + 2))
    for first, last in itertools.pairwise(edges.tolist()):
        row, env = np.divmod(by_distance[first:last], reward.shape[1])
        total[row, env] += discount * total[row + 1, env]
        scale[row, env] = discount * scale[row + 1, env]
    return Returns(total, scale, at)


def _sum_steps(
    reward: np.ndarray, terminal: np.ndarray, stops: np.ndarray, discount: float, n_step: int
) -> Returns:
    length, num_envs = reward.shape
    start, env = np.arange(length)[:, None], np.arange(num_envs)[None]

    def after(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        now = np.minimum(start + k, length - 1)
        return reward[now, env], terminal[now, env], stops[now, env] | (start + k >= length)

    sums = sum_rewards(map(after, range(min(n_step, length))), np.zeros(reward.shape), discount)
    # A sum that ends with the game stops at its last row, and else at the row it bootstraps from.
    return Returns(sums.reward, sums.discount, start + sums.num_rewards - sums.ended)


class Sums(NamedTuple):
    """Discounted sums of rewards, up to the end of the game or of what is known. Arrays [...]."""

    reward: np.ndarray  # of the dtype that was asked for
    discount: np.ndarray  # the same dtype, gamma^num_rewards, or 0 where the game ended
    num_rewards: np.ndarray  # int64
    ended: np.ndarray  # bool, whether the game ended


def sum_rewards(
    steps: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], zeros: np.ndarray, discount: float
) -> Sums:
    """Sums rewards until the game ends, or before a timestep whose next state is not known.

    Args:
      steps: (reward, whether the game ends, whether the next state is unknown) of one timestep
        after the other.
      zeros: the shape and dtype of the sums.
      discount: gamma.
    """
    total, scale = zeros.copy(), np.ones_like(zeros)
    gamma = zeros.dtype.type(discount)
    ended, going = np.zeros(zeros.shape, bool), np.ones(zeros.shape, bool)
    count = np.zeros(zeros.shape, np.int64)
    for reward, terminal, stops in steps:
        going &= ~stops
        total += np.where(going, scale * reward, 0)
        scale = np.where(going, scale * gamma, scale)
        count += going
        ended |= going & terminal
        going &= ~ended
    return Sums(total, np.where(ended, zeros.dtype.type(0), scale), count, ended)
