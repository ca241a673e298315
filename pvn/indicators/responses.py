"""The responses of frozen indicators to every state of a dataset, computed once.

A run draws each stored state many times; the response never changes. Computing it in the step
costs more than the network that learns (7.0 against 2.7 GFLOP a step for 100 tasks, batch 32).
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.data.stack import episode_bounds, gather_stacks
from pvn.data.store import Rows
from pvn.files import sha256, write_json
from pvn.indicators.indicator import Indicator

_BATCH = 256
_FILE = "responses.npy"


def response_batches(
    indicator: Indicator, frozen: Any, rows: Rows, index: np.ndarray
) -> Iterator[np.ndarray]:
    """Responses to the states at rows `index` [M], in order: float32 [up to 256, T] each time."""
    bounds = episode_bounds(rows.episode)
    # The last batch is filled up with row 0, so that there is one shape and one compilation.
    padded = np.concatenate([index, np.zeros(-len(index) % _BATCH, index.dtype)])
    device = jax.devices()[0]
    frozen = jax.device_put(frozen, device)
    for start in range(0, len(index), _BATCH):
        stacks = gather_stacks(rows, bounds, padded[start : start + _BATCH])
        count = min(_BATCH, len(index) - start)
        yield np.asarray(indicator.response(frozen, jnp.asarray(stacks))[:count])


def compute_responses(
    indicator: Indicator,
    frozen: Any,
    rows: Rows,
    index: np.ndarray,
    report: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """float32 [M, T]: the responses to the states at rows `index` [M].

    report: called with the number of states each time some more are done.
    """
    parts = []
    for part in response_batches(indicator, frozen, rows, index):
        parts.append(part)
        report(len(part))
    return np.concatenate(parts)


def cached_responses(
    path: Path,
    key: Mapping[str, Any],
    indicator: Indicator,
    frozen: Any,
    rows: Rows,
    num_tasks: int,
    report: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """float32 [N, T], memory-mapped from `path`, computed if not there or made from another key.

    Args:
      path: the folder of `responses.npy`, and of `responses.json` with the key and a checksum.
      key: all that the responses depend on: the indicator's settings, seed, dataset.
      frozen: the indicator's frozen parameters, a function of the seed in `key`.
    """
    array_file, key_file = path / _FILE, path / "responses.json"
    if array_file.is_file() and key_file.is_file():
        made = json.loads(key_file.read_text())
        if made.pop("sha256", None) == sha256(array_file) and made == key:
            return np.load(array_file, mmap_mode="r")
    path.mkdir(parents=True, exist_ok=True)
    partial = array_file.with_name(_FILE + ".partial")
    shape = (len(rows.action), num_tasks)
    # Written as they come: pages of a map would stay in memory.
    with partial.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(stream, header)
        for part in response_batches(indicator, frozen, rows, np.arange(shape[0])):
            part.astype("<f4", copy=False).tofile(stream)
            report(len(part))
    os.replace(partial, array_file)
    write_json(key_file, {**key, "sha256": sha256(array_file)})
    return np.load(array_file, mmap_mode="r")


def read_responses(path: Path, first: int, stop: int) -> np.ndarray:
    """float32 [stop - first, T]: rows of the responses cached in `path`."""
    # A map of its own each time: its pages leave memory with it.
    return np.array(np.load(path / _FILE, mmap_mode="r")[first:stop])
