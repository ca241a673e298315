"""Frames as an animated GIF."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

_FRAME_MS = 70  # an agent step is four emulator frames at 60 Hz; a GIF counts in 10 ms
_SCALE = 2


def to_gif(frames: Sequence[np.ndarray] | np.ndarray) -> bytes:
    """One frame uint8 [84, 84] of each agent step, as an animated GIF at the speed of the game."""
    large = [frame.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1) for frame in frames]
    first, *rest = (Image.fromarray(frame) for frame in large)
    stream = io.BytesIO()
    first.save(stream, "gif", save_all=True, append_images=rest, duration=_FRAME_MS, loop=0)
    return stream.getvalue()
