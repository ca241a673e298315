"""Data parallelism. Only this file uses `pmap`.

With one device a step runs under `jit`. With D devices it runs under `pmap`: each device has its
rows of the global batch and a copy of the state. Both give the same numbers for the same global
batch, but for rounding.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pvn.errors import UserError

AXIS_NAME = "devices"


class Parallel(NamedTuple):
    """Functions that run steps on the devices of a run."""

    num_devices: int

    compile: Callable[..., Callable[..., Any]]
    """compile(function, donate=None): a pure function of trees, compiled for the devices.

    Its arguments are trees from `replicate` or batches from `split`; its results are on the
    devices. On several devices the function runs once on each, and may reduce over the axis name.
    `donate`: reuse the memory of the first argument, which the caller then cannot use any more;
    None: as `make_parallel` decides."""

    replicate: Callable[[Any], Any]
    """Copies a tree to the devices: each holds the whole tree."""

    unreplicate: Callable[[Any], Any]
    """The tree of one device; all devices have the same."""

    split: Callable[[Any], Any]
    """Splits a global batch of NumPy arrays [B, ...] into rows for each device, [D, B / D, ...].

    With one device the batch stays as it is."""


def check_divides(batch_size: int, num_devices: int) -> None:
    """Checks that each device gets the same number of rows.

    Raises:
      UserError: the batch size is not a multiple of the number of devices.
    """
    if batch_size % num_devices:
        raise UserError(
            f"config.batch_size: {batch_size} does not divide over {num_devices} devices, "
            f"expected a multiple of {num_devices}"
        )


def make_parallel(
    devices: Sequence[jax.Device], donate_state: bool | None = None
) -> tuple[Parallel, str | None]:
    """(functions for these devices, axis name over which a step must reduce or None).

    donate_state: update the state in place; the state that was passed to a step is then deleted.
      None: True except on a CPU, where it is slower (benchmarks/README.md).
    """
    if donate_state is None:
        donate_state = devices[0].platform != "cpu"

    def donated(donate: bool | None) -> tuple[int, ...]:
        return (0,) if (donate_state if donate is None else donate) else ()

    if len(devices) == 1:
        device = devices[0]
        return (
            Parallel(
                num_devices=1,
                compile=lambda step, donate=None: jax.jit(step, donate_argnums=donated(donate)),
                replicate=lambda tree: jax.device_put(tree, device),
                unreplicate=lambda tree: tree,
                split=lambda batch: batch,
            ),
            None,
        )

    count = len(devices)

    def split(batch: Any) -> Any:
        return jax.tree.map(lambda x: np.reshape(x, (count, -1, *x.shape[1:])), batch)

    # Broadcasts one copy to each device; leaves get a leading axis of size D. The axis must have
    # the same name as in `compile`: otherwise the first step would be compiled twice.
    copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS_NAME, in_axes=(None, 0), devices=devices)
    parallel = Parallel(
        num_devices=count,
        compile=lambda step, donate=None: jax.pmap(
            step, axis_name=AXIS_NAME, devices=devices, donate_argnums=donated(donate)
        ),
        replicate=lambda tree: copy(tree, np.zeros(count)),
        # Indexing a pmapped array is a collective operation; reading its first shard is not.
        unreplicate=lambda tree: jax.tree.map(lambda x: x.addressable_shards[0].data[0], tree),
        split=split,
    )
    return parallel, AXIS_NAME
