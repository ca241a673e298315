"""Draws states as 84 x 84 observations, for convolutional networks on an exact MDP."""

import numpy as np
from scipy.spatial import KDTree

from pvn.errors import UserError

SIDE, FLOOR, HERE = 84, 64, 255


def render(coordinates: np.ndarray) -> np.ndarray:
    """An observation of each state, uint8 [S, 84, 84, 4], of four equal frames.

    Every state is a square. The square of the observed state is white, the others are grey, and the
    rest is black. The side of a square is the smallest distance between two states.

    coordinates: float [S, 2], (row, column) of each state.

    Raises:
      UserError: two observations are equal, because 84 x 84 pixels are too few or two states have
        the same coordinates.
    """
    corners, side = _squares(coordinates)
    floor = np.zeros((SIDE, SIDE), np.uint8)
    for row, column in corners:
        floor[row : row + side, column : column + side] = FLOOR
    frames = np.repeat(floor[None], len(corners), axis=0)
    for frame, (row, column) in zip(frames, corners, strict=True):
        frame[row : row + side, column : column + side] = HERE
    return np.repeat(frames[..., None], 4, axis=-1)


def _squares(coordinates: np.ndarray) -> tuple[np.ndarray, int]:
    """(upper left pixel of each state's square int [S, 2], side of the squares in pixels)."""
    spread = np.ptp(coordinates, axis=0)
    spacing = 1.0
    if len(coordinates) > 1:
        nearest, _ = KDTree(coordinates).query(coordinates, k=[2], p=np.inf)
        spacing = max(float(nearest.min()), 1e-9)
    scale = SIDE / (spread.max() + spacing)
    side = max(int(spacing * scale), 1)
    # Centres a drawing that is not square.
    origin = (SIDE - (spread + spacing) * scale) / 2
    corners = ((coordinates - coordinates.min(axis=0)) * scale + origin).round().astype(int)
    corners = np.clip(corners, 0, SIDE - side)
    if len(np.unique(corners, axis=0)) < len(corners):
        raise UserError(
            f"{len(corners)} states do not fit on {SIDE} x {SIDE} pixels: some look alike; "
            "expected fewer of them, or farther apart"
        )
    return corners, side
