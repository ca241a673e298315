"""Data parallelism: the only file that names pmap.

With one device a step runs under `jit`; with D it runs under `pmap`, each device with its rows of
the global batch and a copy of the state. Both give the same numbers for the same global batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pvn.errors import UserError

AXIS_NAME = "devices"


class Parallel(NamedTuple):
    """How steps run on the devices of a run."""

    num_devices: int

    compile: Callable[..., Callable[..., Any]]
    """compile(function, donate=None): a pure function of trees, compiled for the devices.

    Its arguments and results live on the devices: trees from `replicate`, batches from `split`.
    On several devices the function runs once on each and may reduce over the axis name.
    `donate`: update the first argument in place, so that the caller's is deleted; None: as
    `make_parallel` decides."""

    replicate: Callable[[Any], Any]
    """A tree to the devices: every one holds the whole."""

    unreplicate: Callable[[Any], Any]
    """The tree of one device (they are all the same)."""

    split: Callable[[Any], Any]
    """A global batch of NumPy arrays [B, ...] to rows for each device."""


def check_divides(batch_size: int, num_devices: int) -> None:
    """Raises `UserError` unless each device gets the same number of rows."""
    if batch_size % num_devices:
        raise UserError(
            f"config.batch_size: {batch_size} does not divide over {num_devices} devices, "
            f"expected a multiple of {num_devices}"
        )


def make_parallel(
    devices: Sequence[jax.Device], donate_state: bool | None = None
) -> tuple[Parallel, str | None]:
    """For these devices, the way to run, and the axis name that the step is to reduce over.

    donate_state: update the state in place; the one given to a step is then gone. None: except
    on a CPU, where it costs more than it saves (benchmarks/README.md).
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

    # One copy a device, made by broadcasting; leaves get a leading axis of D. The axis has the
    # step's name: with another, the first step would be compiled twice.
    copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS_NAME, in_axes=(None, 0), devices=devices)
    parallel = Parallel(
        num_devices=count,
        compile=lambda step, donate=None: jax.pmap(
            step, axis_name=AXIS_NAME, devices=devices, donate_argnums=donated(donate)
        ),
        replicate=lambda tree: copy(tree, np.zeros(count)),
        # Indexing a pmapped array is a collective; its shards are at hand.
        unreplicate=lambda tree: jax.tree.map(lambda x: x.addressable_shards[0].data[0], tree),
        split=split,
    )
    return parallel, AXIS_NAME
