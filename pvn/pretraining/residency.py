"""Where the data of a pretraining run are: in the host's memory, or in that of the devices."""

import jax

from pvn.data.schedule import Schedule
from pvn.data.transitions import Transitions
from pvn.learning.draws import MOST_ITEMS


def frames_on_device(
    residency: str, platform: str, *, frame_bytes: int, memory: int, limited: bool
) -> bool:
    """Whether the frames are kept in device memory.

    Args:
      residency: auto: if the device is an accelerator, and they take at most half of its memory.
      platform: of the devices.
      frame_bytes: of all frames.
      memory: bytes of a device; 0: unknown.
      limited: whether only a part of the data may be in memory, which `auto` keeps on the host.
    """
    if residency == "auto":
        return platform != "cpu" and not limited and frame_bytes <= memory // 2
    return residency == "device"


def devices_draw(
    transitions: Transitions, schedule: Schedule, *, response_bytes: int, memory: int
) -> bool:
    """Whether devices that have the frames can draw batches, from all transitions alike.

    They can if all data are buffered, and take at most half of a device's memory.

    Args:
      transitions: of the run.
      schedule: of these transitions.
      response_bytes: of the cached responses to a state.
      memory: bytes of a device; 0: unknown, which counts as enough.
    """
    observation, count = transitions.observation, transitions.num_transitions
    columns = 4 * (observation.stack + 1) + 12  # bytes of a transition, see `FrameBatch`
    needed = transitions.num_rows * (observation.frame_bytes + response_bytes) + count * columns
    fits = not memory or needed <= memory // 2
    return not schedule.moves and count <= MOST_ITEMS and fits


def memory_of_device(device: jax.Device) -> int:
    """Bytes of a device's memory that JAX may use; 0 if it does not say."""
    return (device.memory_stats() or {}).get("bytes_limit", 0)
