"""How this process gets its memory from the system."""

import ctypes
import os

# The numbers of these settings in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8

_HEAD_WEIGHTS, _BATCH_SIZE = 200_000, 256


def keep_freed_memory(num_tasks: int, num_features: int, batch_size: int) -> None:
    """Makes malloc keep the memory of large training steps, instead of giving it back.

    XLA allocates the buffers of each step anew. On a CPU by default, glibc gets the large ones from
    the system, which maps and clears one page after the other: up to a quarter of the time of a
    step with many tasks. Small steps have no such buffers, and one heap for all threads would slow
    them down (benchmarks/README.md).

    Call it before JAX starts its threads. It does nothing for small steps, without glibc, or if the
    environment has settings of malloc.

    Args:
      num_tasks, num_features, batch_size: T, F and B of the step.
    """
    large = num_tasks * num_features >= _HEAD_WEIGHTS or batch_size >= _BATCH_SIZE
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if large and not chosen and mallopt is not None:
        mallopt(_ARENA_MAX, 1)  # the heaps of other arenas are small, and large buffers not in them
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
