"""Frames as an animated GIF."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

_FRAME_MS = 70  # an agent step is four emulator frames at 60 Hz; a GIF counts in 10 ms
_SCALE = 2
_SIDE = 84  # least side of a picture


def to_grey(frame: np.ndarray) -> np.ndarray:
    """A picture of a frame, uint8 [H, W]: small frames are enlarged, channels get greys.

    frame: uint8 [H, W], or [H, W, channels] of zeros and ones; a later channel covers others.
    """
    if frame.ndim == 3:
        channels = frame.shape[2]
        frame = (frame * np.linspace(255 // channels, 255, channels)).max(axis=2).astype(np.uint8)
    scale = -(-_SIDE // min(frame.shape))
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def to_gif(frames: Sequence[np.ndarray] | np.ndarray) -> bytes:
    """One frame of each agent step, as an animated GIF at the speed of the game."""
    large = [frame.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1) for frame in map(to_grey, frames)]
    first, *rest = (Image.fromarray(frame) for frame in large)
    stream = io.BytesIO()
    first.save(stream, "gif", save_all=True, append_images=rest, duration=_FRAME_MS, loop=0)
    return stream.getvalue()
