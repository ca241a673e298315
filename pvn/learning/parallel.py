"""Data parallelism over devices and processes. Only this file uses `pmap`.

With one device a step runs under `jit`. With D devices it runs under `pmap`: each device has its
rows of the global batch and a copy of the state. Both give the same numbers for the same global
batch, but for the rounding of sums over the batch. The D devices may belong to several processes
(`pvn.runs.cluster`). Each process then gathers only the rows of its own devices, or these draw
them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from pvn.errors import UserError

AXIS_NAME = "devices"


class Parallel(NamedTuple):
    """Functions that run steps on the devices of a run."""

    num_local: int  # devices of this process
    axis_name: str | None  # over which a step must reduce; None: one device

    compile: Callable[..., Callable[..., Any]]
    """compile(function, donate=True): a pure function of trees, compiled for the devices.

    Its arguments are trees from `replicate` or batches from `split`; its results are on the
    devices. On several devices the function runs once on each, and may reduce over the axis name.
    `donate`: reuse the memory of the first argument, which the caller then cannot use any more."""

    replicate: Callable[[Any], Any]
    """Copies a tree to the devices: each holds the whole tree."""

    unreplicate: Callable[[Any], Any]
    """The tree of one device of this process; all devices have the same."""

    rows: Callable[[int], slice]
    """rows(B): which rows of a global batch of B the devices of this process get."""

    split: Callable[..., Any]
    """split(batch, axis=0): splits these rows, the axis of NumPy arrays [..., rows, ...], into
    [local devices, ..., B / D, ...].

    With one device the batch stays as it is."""

    agree: Callable[[Any, bool], jax.Array]
    """agree(step, flag): an array that is positive if any process passes True.

    All processes get the same answer. It is ready when `step`, an array on the devices, is."""


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


def from_first(tree: Any) -> Any:
    """The tree of the first process, bit for bit. Every process passes a tree of the same shapes.

    With one process, that is `tree`. The leaves become NumPy arrays otherwise.
    """
    if jax.process_count() == 1:
        return tree
    arrays = jax.tree.map(np.asarray, jax.device_get(tree))
    # As bytes: the transfer is a sum with zeros, which would change the sign of -0.0.
    sent = jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), arrays)
    received = multihost_utils.broadcast_one_to_all(sent)
    return jax.tree.map(
        lambda raw, x: np.frombuffer(np.asarray(raw).tobytes(), x.dtype).reshape(x.shape),
        received,
        arrays,
    )


def wait_for_all() -> None:
    """Returns when all processes have called it."""
    from_first(np.zeros(1, np.uint8))


def make_parallel(devices: Sequence[jax.Device]) -> Parallel:
    """The functions for these devices.

    devices: of one process, or all devices of all processes.
    """
    if len(devices) == 1:
        device = devices[0]
        add = jax.jit(lambda step, flag: flag + 0 * step)
        return Parallel(
            num_local=1,
            axis_name=None,
            compile=lambda step, donate=True: jax.jit(step, donate_argnums=0 if donate else ()),
            replicate=lambda tree: jax.device_put(tree, device),
            unreplicate=lambda tree: tree,
            rows=slice,
            split=lambda batch, axis=0: batch,
            agree=lambda step, flag: add(step, np.int32(flag)),
        )

    count, me = len(devices), jax.process_index()
    local = sum(device.process_index == me for device in devices)
    before = sum(device.process_index < me for device in devices)

    def split(batch: Any, axis: int = 0) -> Any:
        def of_devices(x: np.ndarray) -> np.ndarray:
            parts = np.reshape(x, (*x.shape[:axis], local, -1, *x.shape[axis + 1 :]))
            return np.moveaxis(parts, axis, 0)

        return jax.tree.map(of_devices, batch)

    def unreplicate(tree: Any) -> Any:
        # Indexing a pmapped array is a collective operation; reading its first shard is not.
        return jax.tree.map(lambda x: x.addressable_shards[0].data[0], tree)

    # Broadcasts one copy to each device; leaves get a leading axis of size D. The axis must have
    # the same name as in `compile`: otherwise the first step would be compiled twice.
    copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS_NAME, in_axes=(None, 0), devices=devices)
    total = jax.pmap(
        lambda step, flag: jax.lax.psum(flag + 0 * step, AXIS_NAME),
        axis_name=AXIS_NAME,
        devices=devices,
    )
    return Parallel(
        num_local=local,
        axis_name=AXIS_NAME,
        compile=lambda step, donate=True: jax.pmap(
            step,
            axis_name=AXIS_NAME,
            devices=devices,
            donate_argnums=0 if donate else (),
        ),
        # pmap refuses a tree without leaves on several processes.
        replicate=lambda tree: copy(tree, np.zeros(local)) if jax.tree.leaves(tree) else tree,
        unreplicate=unreplicate,
        rows=lambda size: slice(size // count * before, size // count * (before + local)),
        split=split,
        agree=lambda step, flag: unreplicate(total(step, np.full(local, flag, np.int32))),
    )
