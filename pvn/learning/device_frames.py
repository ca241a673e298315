"""Frames that live on the device: a batch is told by its places and gathered inside the step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.resident import Load
from pvn.data.store import FRAME_SHAPE
from pvn.learning.parallel import Parallel
from pvn.types import Window


def gather(ring: jax.Array, window: Window) -> Window:
    """Puts the frames, uint8 [B, 5, 84, 84], where their places stand, int32 [B, 5].

    ring: uint8 [R, 84, 84]. Place -1 is a frame of zeros.
    """
    outside = window.frames < 0
    frames = ring[jnp.where(outside, 0, window.frames)]
    return window._replace(frames=jnp.where(outside[:, :, None, None], jnp.uint8(0), frames))


def _write(ring: jax.Array, at: jax.Array, frames: jax.Array) -> jax.Array:
    return ring.at[at].set(frames, mode="drop", unique_indices=True)


class DeviceRing:
    """The ring of resident frames, a copy on each device; updated in place."""

    def __init__(self, parallel: Parallel, num_rows: int, block_rows: int):
        """num_rows: frames in all. block_rows: those of a `Load`, at most."""
        self._parallel, self._num_rows, self._block_rows = parallel, num_rows, block_rows
        self._write = parallel.compile(_write, donate=True)
        make = parallel.compile(
            lambda _: jnp.zeros((num_rows, *FRAME_SHAPE), jnp.uint8), donate=False
        )
        self.frames: Any = make(parallel.split(np.zeros(parallel.num_devices)))

    def store(self, load: Load) -> None:
        """Puts rows where they belong; steps that were queued before still see the old ones."""
        # One shape, one compilation: what is left over of the block falls off the ring's end.
        frames = np.zeros((self._block_rows, *FRAME_SHAPE), np.uint8)
        frames[: len(load.frames)] = load.frames
        at = np.arange(self._num_rows, self._num_rows + self._block_rows, dtype=np.int32)
        at[: len(load.frames)] = load.at + np.arange(len(load.frames))
        where, what = self._parallel.replicate((at, frames))
        self.frames = self._write(self.frames, where, what)
