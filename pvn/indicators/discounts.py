"""Which task has which discount."""

from collections.abc import Sequence

import numpy as np


def discounts_of_tasks(discounts: Sequence[float], num_tasks: int) -> np.ndarray:
    """float32 [T]: the discount of each task. Of several, task t has the one at t modulo them."""
    return np.resize(np.asarray(discounts, np.float32), num_tasks)
