"""Which interactions of the replay a gradient update uses: uniform or prioritised."""

from typing import NamedTuple

import numpy as np

from pvn.evaluation.replay import Replay
from pvn.evaluation.state import State


class Draw(NamedTuple):
    """B rows where interactions start."""

    time: np.ndarray  # int64 [B]
    env: np.ndarray  # int64 [B]
    weight: np.ndarray  # float32 [B], of the loss of each; 1 if rows are drawn uniformly


def draw_uniform(replay: Replay, random: np.random.Generator, count: int) -> Draw:
    """Draws rows of `replay.starts()` uniformly with replacement."""
    low, high = replay.first_start, replay.end_start
    time = random.integers(low, high, count)
    env = random.integers(replay.num_envs, size=count)
    while (cut := ~replay.is_start(time, env)).any():
        time[cut] = random.integers(low, high, int(cut.sum()))
        env[cut] = random.integers(replay.num_envs, size=int(cut.sum()))
    return Draw(time, env, np.ones(count, np.float32))


class SumTree:
    """N numbers of at least 0, and their sums by pairs, pairs of pairs, and so on."""

    def __init__(self, size: int):
        self._levels = [np.zeros(size)]
        while len(self._levels[-1]) > 1:
            self._levels.append(np.zeros(-(-len(self._levels[-1]) // 2)))
        for level in self._levels[:-1]:  # each level has an even length, so that pairs are whole
            level.resize(len(level) + len(level) % 2, refcheck=False)

    @property
    def leaves(self) -> np.ndarray:
        """float64, the N numbers, and zeros."""
        return self._levels[0]

    @property
    def total(self) -> float:
        """The sum of all numbers."""
        return float(self._levels[-1][0])

    def set(self, index: np.ndarray, value: np.ndarray | float) -> None:
        """Replaces numbers. index: int [K]. Sums are computed anew, so rounding cannot add up."""
        self._levels[0][index] = value
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            index = np.unique(index // 2)
            level[index] = below[2 * index] + below[2 * index + 1]

    def find(self, mass: np.ndarray) -> np.ndarray:
        """The numbers in whose share of the total the masses float64 [K] in [0, total) lie."""
        index = np.zeros(len(mass), np.int64)
        for level in reversed(self._levels[:-1]):
            left, right = level[2 * index], level[2 * index + 1]
            goes_right = (mass >= left) & (right > 0)
            mass = np.where(goes_right, mass - left, mass)
            index = 2 * index + goes_right
        return index


class Priorities:
    """Prioritised replay: a row is drawn with a probability proportional to its priority.

    The priority of a row is (loss + 1e-10)^exponent. A new row gets the largest priority so far.
    Rows where no interaction can start have priority 0. Schaul et al., "Prioritized Experience
    Replay" (2016), with the losses as priorities, as in Dopamine's Rainbow.
    """

    def __init__(self, replay: Replay, exponent: float, importance: float):
        """
        Args:
          replay: whose rows are drawn.
          exponent: of the loss.
          importance: a drawn row has the weight (1 / (N * probability))^importance, divided by the
            largest weight of its batch; 1 corrects the bias of the draw entirely, 0 not at all.
        """
        self._tree = SumTree(replay.capacity * replay.num_envs)
        self._exponent, self._importance = exponent, importance
        self._largest = 1.0
        self._first, self._end = 0, 0  # the timesteps that have a priority

    def draw(
        self, replay: Replay, random: np.random.Generator, count: int, batch_size: int
    ) -> Draw:
        """Draws `count` rows, one from each of `count` equal parts of the mass.

        batch_size: `count` rows are batches of this size; parts are dealt to them in turn.
        """
        self._follow(replay)
        parts = (np.arange(count) + random.random(count)) / count
        parts = parts.reshape(batch_size, -1).T.ravel()
        index = self._tree.find(parts * self._tree.total)
        probability = self._tree.leaves[index] / self._tree.total
        rows = np.count_nonzero(self._tree.leaves)
        weight = np.power(rows * probability, -self._importance).reshape(-1, batch_size)
        weight /= weight.max(axis=1, keepdims=True)
        slot, env = np.divmod(index, replay.num_envs)
        time = self._first + (slot - self._first) % replay.capacity
        return Draw(time, env, weight.ravel().astype(np.float32))

    def update(self, replay: Replay, draw: Draw, loss: np.ndarray) -> None:
        """Gives drawn rows the priorities of their losses, float [B]. Rows that were overwritten
        since the last draw keep none: `draw` removes them first."""
        priority = np.power(loss.astype(np.float64) + 1e-10, self._exponent)
        self._largest = max(self._largest, float(priority.max()))
        here = draw.time >= self._first
        index = (draw.time % replay.capacity) * replay.num_envs + draw.env
        self._tree.set(index[here], priority[here])

    def _follow(self, replay: Replay) -> None:
        """Removes overwritten rows, and adds the rows where an interaction can start by now."""
        envs = np.arange(replay.num_envs)
        gone = np.arange(self._first, min(replay.first_start, self._end))
        new = np.arange(max(self._end, replay.first_start), replay.end_start)
        for times, is_new in ((gone, False), (new, True)):
            if not len(times):
                continue
            time, env = np.repeat(times, len(envs)), np.tile(envs, len(times))
            value = np.where(replay.is_start(time, env), self._largest, 0.0) if is_new else 0.0
            self._tree.set((time % replay.capacity) * replay.num_envs + env, value)
        self._first, self._end = replay.first_start, max(self._end, replay.end_start)

    def state(self) -> State:
        """The priorities and the timesteps that have one."""
        return {
            "priority": self._tree.leaves.copy(),
            "largest": np.array(self._largest),
            "timesteps": np.array([self._first, self._end]),
        }

    def restore(self, state: State) -> None:
        """Puts a new object into the state that `state` returned."""
        self._tree.set(np.arange(len(self._tree.leaves)), state["priority"])
        self._largest = float(state["largest"])
        self._first, self._end = (int(x) for x in state["timesteps"])
