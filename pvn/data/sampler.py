"""Which transitions make up a batch: a pure function of (seed, step).

A counter-based generator (Philox) is set to the step, so no iterator has a state that could be
lost: the data position of a run is one integer, and each of several processes takes its slice of
the same global batch.
"""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """Draws that a run makes once: steps that no run reaches."""

    PROBE = 2**64 - 1  # transitions on which diagnostics are computed
    SAMPLE = 2**64 - 2  # states on which thresholds are fitted and rates measured
    ORDER = 2**64 - 3  # order of the blocks of a dataset that is larger than memory


def generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of a step, independent of those of any other."""
    # The step is the high word of the 256-bit counter: 2**192 draws lie between two steps.
    bits = np.random.Philox(key=seed, counter=np.array([0, 0, 0, int(step)], np.uint64))
    return np.random.Generator(bits)


def uniform_indices(seed: int, step: int, batch_size: int, num_items: int) -> np.ndarray:
    """The global batch of a step: int64 [B], uniform over `num_items`, with replacement.

    Args:
      seed: of the run, non-negative, below 2**64.
      step: from 0, or a `Stream`. Batches of different steps are independent.
      batch_size: B.
      num_items: how many transitions there are.
    """
    return generator(seed, step).integers(num_items, size=batch_size)


def weighted_indices(seed: int, step: int, batch_size: int, probability: np.ndarray) -> np.ndarray:
    """Like `uniform_indices`, but item i of M is drawn with probability[i], float64 [M]."""
    return generator(seed, step).choice(len(probability), batch_size, p=probability)


def mixture_indices(
    seed: int, step: int, batch_size: int, sizes: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Like `uniform_indices` over K groups laid end to end, but group k has shares[k] of the draws.

    sizes: int64 [K], items of each group, 1 or more. shares: float64 [K], sums to 1.
    """
    random = generator(seed, step)
    group = random.choice(len(sizes), batch_size, p=shares)
    return (np.cumsum(sizes) - sizes)[group] + random.integers(sizes[group])
