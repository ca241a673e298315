"""Observations of the shapes that tests need."""

import numpy as np

from pvn.types import ATARI

EXAMPLE = np.zeros((1, *ATARI.shape), np.uint8)
"""uint8 [1, 84, 84, 4]: from its shape, indicators and networks are initialised."""
