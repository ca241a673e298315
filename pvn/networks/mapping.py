"""Maps states through a network in batches of one shape."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def map_states(
    function: Callable[[np.ndarray], Any],
    states: Callable[[np.ndarray], np.ndarray],
    index: np.ndarray,
    batch_size: int,
    ahead: int = 1,
) -> Iterator[np.ndarray]:
    """Yields the results for the states at `index`, in order, one batch at a time.

    Every call of `function` gets a full batch, so a jitted function is compiled once. The last
    batch is padded with copies of its first state, and the results of the padding are removed.

    Args:
      function: maps a batch of states [B, ...] to an array [B, ...].
      states: gathers the states [B, ...] at an int64 index [B].
      index: int64 [M].
      batch_size: B.
      ahead: number of batches under way at the same time.
    """
    started: deque[tuple[Any, int]] = deque()
    for start in range(0, len(index), batch_size):
        part = np.asarray(index[start : start + batch_size], np.int64)
        padding = np.full(batch_size - len(part), part[0])
        started.append((function(states(np.concatenate([part, padding]))), len(part)))
        if len(started) == ahead:
            yield _finished(started)
    while started:
        yield _finished(started)


def _finished(started: deque[tuple[Any, int]]) -> np.ndarray:
    result, count = started.popleft()
    return np.asarray(result)[:count]
