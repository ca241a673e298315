"""States as 84 x 84 observations, so that convolutional networks can run on an exact MDP."""

import numpy as np
from scipy.spatial import KDTree

from pvn.errors import UserError

SIDE, FLOOR, HERE = 84, 64, 255


def render(coordinates: np.ndarray) -> np.ndarray:
    """uint8 [S, 84, 84, 4]: all states grey, the one that it is white; four equal frames.

    coordinates: float [S, 2], (row, column) of each state's square, whose side is the least
    distance between two.

    Raises:
      UserError: two states look alike: too many for 84 x 84 pixels, or at one place.
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
    """Upper left pixel of each state's square, int [S, 2], and the side of all."""
    spread = np.ptp(coordinates, axis=0)
    spacing = 1.0
    if len(coordinates) > 1:
        nearest, _ = KDTree(coordinates).query(coordinates, k=[2], p=np.inf)
        spacing = max(float(nearest.min()), 1e-9)
    scale = SIDE / (spread.max() + spacing)
    side = max(int(spacing * scale), 1)
    # Centred, for what is not as high as it is wide.
    origin = (SIDE - (spread + spacing) * scale) / 2
    corners = ((coordinates - coordinates.min(axis=0)) * scale + origin).round().astype(int)
    corners = np.clip(corners, 0, SIDE - side)
    if len(np.unique(corners, axis=0)) < len(corners):
        raise UserError(
            f"{len(corners)} states do not fit on {SIDE} x {SIDE} pixels: some look alike; "
            "expected fewer of them, or farther apart"
        )
    return corners, side
