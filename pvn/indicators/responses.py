"""Computes the responses of an indicator to every state of a dataset once, and stores them.

A run draws each state many times, and its response never changes. Computing it in each step costs
more than the network that learns: 7.0 against 2.7 GFLOP a step for 100 tasks and batch size 32.

The store is a Zarr v3 array [N, T] in pieces of whole rows. A piece is a file with a checksum; it
is complete or absent. So an interrupted computation continues, and several processes share one
computation: each computes its own pieces, and all read all of them.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tensorstore as ts

from pvn.data.transitions import Transitions
from pvn.errors import UserError
from pvn.indicators.indicator import Indicator
from pvn.networks.mapping import map_states
from pvn.paths import check_folder, is_remote
from pvn.remote import result_of, store_spec

_BATCH = 256
_PIECE_ROWS = 4096  # most rows of a piece
_PIECE_BYTES = 2**22  # about the most bytes of a piece
_POLL = 0.5  # seconds between two looks for the pieces of the other processes


class Share(NamedTuple):
    """Which pieces a process computes: rank, rank + size, ..."""

    rank: int = 0  # of this process
    size: int = 1  # number of processes
    wait_for_all: Callable[[], object] = lambda: None  # returns when all processes have called it


ALONE = Share()


def response_batches(
    indicator: Indicator,
    frozen: Any,
    transitions: Transitions,
    index: np.ndarray,
    devices: Sequence[jax.Device],
) -> Iterator[np.ndarray]:
    """Yields the responses to the states at rows `index` int [M], in order, batch by batch.

    Each batch is float32 [256, T]; the last may be shorter. The devices take turns.
    """
    turns = itertools.cycle([(device, jax.device_put(frozen, device)) for device in devices])

    def respond(states: np.ndarray) -> jax.Array:
        device, params = next(turns)
        return indicator.response(params, jax.device_put(states, device))

    return map_states(respond, transitions.observations, index, _BATCH, ahead=len(devices))


def compute_responses(
    indicator: Indicator,
    frozen: Any,
    transitions: Transitions,
    index: np.ndarray,
    on_progress: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """float32 [M, T]: the responses to the states at rows `index` int [M].

    on_progress: called with the number of states just done.
    """
    parts = []
    devices = jax.local_devices()[:1]
    for part in response_batches(indicator, frozen, transitions, index, devices):
        parts.append(part)
        on_progress(len(part))
    return np.concatenate(parts)


class StoredResponses:
    """The responses to N states on disk, float32 [N, T]; indexing reads them."""

    def __init__(self, path: str | Path, array: ts.TensorStore):
        self._path, self._array = path, array
        self.shape = tuple(array.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """float32 [..., T] at a slice of rows or at int [...].

        Raises:
          UserError: a piece is corrupt or missing.
        """
        problem = "cannot be read (the same command computes corrupt pieces again)"
        return np.asarray(_done(self._path, problem, self._array[rows].read()))


def stored_responses(
    path: str | Path,
    key: Mapping[str, Any],
    indicator: Indicator,
    frozen: Any,
    transitions: Transitions,
    *,
    share: Share = ALONE,
    devices: Sequence[jax.Device] | None = None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> StoredResponses:
    """The responses to all rows, from the store in the folder `path`.

    Missing and corrupt pieces are computed. If the store was made with another key, all are.

    Args:
      path: a local folder or one on gs://, with the array and `key.json`.
      key: everything that the responses depend on (indicator, settings, seed, dataset); JSON.
      indicator: of T tasks.
      frozen: the indicator's frozen parameters, a function of the seed in `key`.
      transitions: of N rows.
      share: of this process. It computes its pieces and waits for those of the others.
      devices: devices of this process, which take turns; None: the first.
      on_progress: called with the number of states just done or found.

    Raises:
      UserError: a piece cannot be written, for example because the disk is full.
    """
    num_rows, num_tasks = transitions.num_rows, indicator.num_tasks
    rows = int(np.clip(_PIECE_BYTES // (4 * num_tasks) // _BATCH * _BATCH, _BATCH, _PIECE_ROWS))
    if share.rank == 0:
        _prepare(path, key)
        try:
            _open(path, num_rows, num_tasks, rows)
        except UserError:  # its metadata is corrupt: it is written again, and the pieces stay
            _done(path, "cannot be written", _store(path).write("zarr.json", None))
    share.wait_for_all()
    array = _open(path, num_rows, num_tasks, rows)
    pieces = [slice(at, min(at + rows, num_rows)) for at in range(0, num_rows, rows)]
    there = _pieces_there(path)
    mine = range(share.rank, len(pieces), share.size)
    for number in [i for i in mine if i in there]:
        try:
            array[pieces[number]].read().result()
            on_progress(pieces[number].stop - pieces[number].start)
        except ValueError:  # corrupt
            there.discard(number)
            _done(path, "cannot be written", _store(path).write(f"c/{number}/0", None))
    share.wait_for_all()  # no process may take a corrupt piece of another for a complete one
    missing = [i for i in mine if i not in there]
    states = np.concatenate([np.arange(num_rows)[pieces[i]] for i in missing] or [np.arange(0)])
    batches = response_batches(
        indicator, frozen, transitions, states, devices or jax.local_devices()[:1]
    )
    for number in missing:
        piece = pieces[number]
        parts: list[np.ndarray] = []
        while sum(map(len, parts)) < piece.stop - piece.start:
            parts.append(next(batches))
            on_progress(len(parts[-1]))
        _done(path, "cannot be written", array[piece].write(np.concatenate(parts)))
    while not _pieces_there(path).issuperset(range(len(pieces))):
        time.sleep(_POLL)
    return StoredResponses(path, array)


def _prepare(path: str | Path, key: Mapping[str, Any]) -> None:
    """Empties the store in `path` unless it was made with this key."""
    store = _store(path)
    text = json.dumps(key, sort_keys=True, indent=1).encode() + b"\n"
    old = _done(path, "cannot be read", store.read("key.json"))
    if old.state == "value" and old.value == text:
        return
    _done(path, "cannot be emptied", store.delete_range(ts.KvStore.KeyRange()))
    _done(path, "cannot be written", store.write("key.json", text))


def _open(path: str | Path, num_rows: int, num_tasks: int, piece_rows: int) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        "kvstore": store_spec(path),
        "metadata": {
            "shape": [num_rows, num_tasks],
            "data_type": "float32",
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [piece_rows, num_tasks]},
            },
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
        },
        # A piece of zeros is written too: a missing file is never a piece of zeros.
        "store_data_equal_to_fill_value": True,
        "fill_missing_data_reads": False,
    }
    return _done(path, "cannot be opened", ts.open(spec, open=True, create=True))


def _pieces_there(path: str | Path) -> set[int]:
    """Numbers of the pieces that are written."""
    names = _done(path, "cannot be listed", _store(path).list())
    parts = [name.decode().split("/") for name in names]
    return {int(part[1]) for part in parts if len(part) == 3 and part[0] == "c"}


def _store(path: str | Path) -> ts.KvStore:
    if not is_remote(path):
        check_folder(path, f"responses {path}")
    return _done(path, "cannot be opened", ts.KvStore.open(store_spec(path)))


def _done(path: str | Path, problem: str, future: Any) -> Any:
    return result_of(f"responses {path}", problem, future)
