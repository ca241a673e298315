"""Which task has which discount."""

from collections.abc import Sequence

import numpy as np


def discounts_of_tasks(
    discounts: Sequence[float], num_tasks: int, dtype: type = np.float32
) -> np.ndarray:
    """[T]: the discount of each task. Of several, task t has the one at t modulo their number."""
    return np.resize(np.asarray(discounts, dtype), num_tasks)
