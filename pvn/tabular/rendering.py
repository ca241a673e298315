"""States as 84 x 84 observations, so that convolutional networks can run on an exact MDP."""

import numpy as np

from pvn.errors import UserError

SIDE, FLOOR, HERE = 84, 64, 255


def render(coordinates: np.ndarray) -> np.ndarray:
    """uint8 [S, 84, 84, 4]: all states grey, the one that it is white; four equal frames.

    coordinates: float [S, 2], (row, column) of each state's square, whose side is their least
    distance.

    Raises:
      UserError: two states look alike: too many for 84 x 84 pixels.
    """
    spread = np.ptp(coordinates, axis=0)
    distance = np.abs(coordinates[:, None] - coordinates[None]).max(axis=2)
    np.fill_diagonal(distance, np.inf)
    spacing = distance.min() if len(coordinates) > 1 else 1.0
    scale = SIDE / (spread.max() + spacing)
    side = max(int(spacing * scale), 1)
    # Centred, for what is not as high as it is wide.
    origin = (SIDE - (spread + spacing) * scale) / 2
    corners = ((coordinates - coordinates.min(axis=0)) * scale + origin).round().astype(int)
    corners = np.clip(corners, 0, SIDE - side)
    frame = np.zeros((SIDE, SIDE), np.uint8)
    for row, column in corners:
        frame[row : row + side, column : column + side] = FLOOR
    frames = np.repeat(frame[None], len(coordinates), axis=0)
    for state, (row, column) in enumerate(corners):
        frames[state, row : row + side, column : column + side] = HERE
    if len(np.unique(frames.reshape(len(frames), -1), axis=0)) < len(frames):
        raise UserError(
            f"{len(frames)} states do not fit on {SIDE} x {SIDE} pixels: some look alike; expected "
            "fewer, or tasks and an encoder that do not look at pixels"
        )
    return np.repeat(frames[..., None], 4, axis=-1)
