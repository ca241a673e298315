"""Observations that several tests share."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    """uint8 [5, 84, 84, 4], random."""
    return np.random.default_rng(0).integers(0, 256, (5, 84, 84, 4), dtype=np.uint8)
