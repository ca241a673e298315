"""Draws the transitions of a batch, as a pure function of (seed, step).

The step sets the counter of a counter-based generator (Philox). So no iterator has a state to
save: the data position of a run is one integer, the step. The draw is the global batch; it does
not depend on the number of devices.
"""

import enum
from typing import NamedTuple

import numpy as np


class Stream(enum.IntEnum):
    """Draws that a run makes once. Each takes the place of a step that no run reaches."""

    PROBE = 2**64 - 1  # transitions for the diagnostics
    SAMPLE = 2**64 - 2  # states for fitting thresholds and measuring activation rates
    ORDER = 2**64 - 3  # order of the blocks, if the data are larger than the buffer
    CHOICE = 2**64 - 4  # transitions on which candidates for tasks are compared


def generator(seed: int, step: int) -> np.random.Generator:
    """The random generator of a step, independent of that of any other step."""
    # The step is the high word of the 256-bit counter: each step has 2**192 counts of its own.
    bits = np.random.Philox(key=seed, counter=np.array([0, 0, 0, int(step)], np.uint64))
    return np.random.Generator(bits)


def uniform_indices(seed: int, step: int, batch_size: int, num_items: int) -> np.ndarray:
    """The global batch of a step: int64 [B], uniform over `num_items`, with replacement.

    Args:
      seed: of the run, non-negative, below 2**64.
      step: from 0, or a `Stream`. Batches of different steps are independent.
      batch_size: B.
      num_items: number of transitions.
    """
    return generator(seed, step).integers(num_items, size=batch_size)


def weighted_indices(seed: int, step: int, batch_size: int, probability: np.ndarray) -> np.ndarray:
    """Like `uniform_indices`, but draws item i with `probability[i]`.

    probability: float64 [number of items], sums to 1.
    """
    return generator(seed, step).choice(len(probability), batch_size, p=probability)


def lane_of(row: np.ndarray, batch_size: int, num_lanes: int) -> np.ndarray:
    """int64 [...]: the lane that rows of a global batch draw from; each has B / L of the rows."""
    return row * num_lanes // batch_size


class Sampler(NamedTuple):
    """How the batches of a run are drawn from K datasets."""

    seed: int  # of the draws
    batch_size: int  # B, over all devices
    shares: np.ndarray | None = None  # float64 [K], of each dataset; None: all items alike

    def draw(self, step: int, sizes: np.ndarray) -> np.ndarray:
        """The global batch of a step: int64 [B], items of L lanes of K groups each.

        The items of a lane are numbered from 0, group after group.

        Args:
          step: from 0.
          sizes: int64 [L, K], items of each group. Row i of the batch draws from lane i L // B.
        """
        if len(sizes) == 1 and self.shares is None:
            return uniform_indices(self.seed, step, self.batch_size, int(sizes.sum()))
        random = generator(self.seed, step)
        lane = lane_of(np.arange(self.batch_size), self.batch_size, len(sizes))
        if self.shares is None:
            return random.integers(sizes.sum(axis=1)[lane])
        group = random.choice(sizes.shape[1], self.batch_size, p=self.shares)
        first = np.cumsum(sizes, axis=1) - sizes
        return first[lane, group] + random.integers(sizes[lane, group])
