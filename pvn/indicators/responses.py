"""Computes the responses of an indicator to every state of a dataset once, and stores them.

A run draws each state many times, and its response never changes. With the published 10 tasks a
network, computing it in each step costs more than the network that learns: 7.0 against 3.75 GFLOP
(100 tasks, batch size 32).

The store is a Zarr v3 array with a row for each state, in pieces of whole rows. A piece is a file
with a checksum; it is complete or absent. So an interrupted computation continues, and several
processes share one computation: each computes its own pieces, and all read all of them.
"""

import io
import itertools
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tensorstore as ts

from pvn.data.transitions import Transitions
from pvn.errors import UserError
from pvn.indicators.indicator import Indicator, Params
from pvn.indicators.packed import response_columns
from pvn.networks.mapping import map_states
from pvn.storage.paths import check_folder, is_remote
from pvn.storage.remote import delete_unfinished, result_of, store_spec

_PIECE_ROWS = 4096  # most rows of a piece
_PIECE_BYTES = 2**22  # about the most bytes of a piece
FIT = "fit"  # the array of the responses that tasks are fitted to
FITTED, KEPT = "fitted.npz", "kept.npz"  # fitted parameters; which candidates are kept
_OWN_FILE = re.compile(rf"key\.json|(fitted|kept)\.npz|({FIT}/)?(zarr\.json|c/\d+/0)")
_POLL = 0.5  # seconds between two looks for the pieces of the other processes


def batch_size(platform: str) -> int:
    """States of a batch: on a CPU few enough for its caches, elsewhere many."""
    return 64 if platform == "cpu" else 1024


class Share(NamedTuple):
    """Which pieces a process computes: rank, rank + size, ..."""

    rank: int = 0  # of this process
    size: int = 1  # number of processes
    wait_for_all: Callable[[], object] = lambda: None  # returns when all processes have called it


ALONE = Share()


class Cache(NamedTuple):
    """Where a run stores responses, and who computes them."""

    path: str | Path  # a local folder or one on gs://, with the array and `key.json`
    key: Mapping[str, Any]  # all that the responses depend on (indicator, seed, dataset); JSON
    share: Share = ALONE  # of this process
    devices: Sequence[jax.Device] | None = None  # of this process, which take turns; None: one


def response_batches(
    indicator: Indicator,
    frozen: Any,
    transitions: Transitions,
    index: np.ndarray,
    devices: Sequence[jax.Device],
) -> Iterator[np.ndarray]:
    """Yields the responses to the states at rows `index` int [M], in order, batch by batch.

    Each batch is [B, columns], with B of `batch_size`; the last may be shorter. The devices take
    turns.
    """
    turns = itertools.cycle([(device, jax.device_put(frozen, device)) for device in devices])

    def respond(states: np.ndarray) -> jax.Array:
        device, params = next(turns)
        return indicator.response(params, jax.device_put(states, device))

    size = batch_size(devices[0].platform)
    return map_states(respond, transitions.observations, index, size, ahead=len(devices))


def compute_responses(
    indicator: Indicator,
    frozen: Any,
    transitions: Transitions,
    index: np.ndarray,
    on_progress: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """[M, columns]: the responses to the states at rows `index` int [M].

    on_progress: called with the number of states just done.
    """
    columns, dtype = response_columns(indicator.num_tasks, indicator.packed)
    values, at = np.empty((len(index), columns), dtype), 0
    for part in response_batches(indicator, frozen, transitions, index, jax.local_devices()[:1]):
        values[at : at + len(part)] = part
        at += len(part)
        on_progress(len(part))
    return values


class StoredResponses:
    """The responses to N states on disk, [N, columns]; indexing reads them."""

    def __init__(self, path: str | Path, array: ts.TensorStore):
        self._path, self._array = path, array
        self.shape = tuple(array.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """[..., columns] at a slice of rows or at int [...].

        Raises:
          UserError: a piece is corrupt or missing.
        """
        problem = "cannot be read (the same command computes corrupt pieces again)"
        return np.asarray(_done(self._path, problem, self._array[rows].read()))


def open_cache(cache: Cache) -> None:
    """Empties the store unless it was made with the cache's key. All processes call it.

    No other run may use the store.
    """
    if cache.share.rank == 0:
        store = _store(cache.path)
        delete_unfinished(cache.path, _OWN_FILE)
        old = _done(cache.path, "cannot be read", store.read("key.json"))
        if old.state != "value" or old.value != _key_text(cache):
            _empty(cache)
    cache.share.wait_for_all()


def empty_cache(cache: Cache) -> None:
    """Deletes all that an open cache holds. All processes call it."""
    if cache.share.rank == 0:
        _empty(cache)
    cache.share.wait_for_all()


def stored_responses(
    cache: Cache,
    indicator: Indicator,
    frozen: Params,
    transitions: Transitions,
    *,
    index: np.ndarray | None = None,
    known: tuple[np.ndarray, np.ndarray] | None = None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> StoredResponses:
    """The responses to the states at rows `index`, from an open cache.

    Missing and corrupt pieces are computed. A process computes its pieces, and waits for those of
    the others.

    Args:
      cache: after `open_cache`.
      indicator: of T tasks.
      frozen: the indicator's frozen parameters, a function of the seed in the cache's key.
      transitions: of N rows.
      index: int [M], ascending, whose responses are in an array of their own; None: all rows.
      known: (rows int [K], ascending, their responses [K, columns]), which are not computed again.
      on_progress: called with the number of states just computed or found, without known ones.

    Raises:
      UserError: a piece cannot be written, for example because the disk is full.
    """
    path, share = cache.path, cache.share
    if index is None:
        index = np.arange(transitions.num_rows)
    else:
        path = f"{path}/{FIT}"
    columns, dtype = response_columns(indicator.num_tasks, indicator.packed)
    row_bytes = columns * dtype.itemsize
    rows = int(np.clip(_PIECE_BYTES // row_bytes // 256 * 256, 256, _PIECE_ROWS))
    shape = (len(index), columns)
    if share.rank == 0:
        try:
            _open(path, shape, dtype, rows)
        except UserError:  # its metadata is corrupt: it is written again, and the pieces stay
            _done(path, "cannot be written", _store(path).write("zarr.json", None))
    share.wait_for_all()
    array = _open(path, shape, dtype, rows)
    pieces = [index[at : at + rows] for at in range(0, len(index), rows)]
    there = _pieces_there(path)
    mine = {
        i: np.isin(pieces[i], known[0]) if known else np.zeros(len(pieces[i]), bool)
        for i in range(share.rank, len(pieces), share.size)
    }
    for number in mine.keys() & there:
        try:
            array[number * rows : number * rows + len(pieces[number])].read().result()
            on_progress(int(np.sum(~mine[number])))
        except ValueError:  # corrupt
            there.discard(number)
            _done(path, "cannot be written", _store(path).write(f"c/{number}/0", None))
    share.wait_for_all()  # no process may take a corrupt piece of another for a complete one
    missing = {i: is_known for i, is_known in mine.items() if i not in there}

    def computed() -> Iterator[np.ndarray]:
        """The responses that are not known, state by state."""
        states = [pieces[i][~is_known] for i, is_known in missing.items()]
        for batch in response_batches(
            indicator,
            frozen,
            transitions,
            np.concatenate([index[:0], *states]),
            cache.devices or jax.local_devices()[:1],
        ):
            on_progress(len(batch))
            yield from batch

    new = computed()
    for number, is_known in missing.items():
        values = np.empty((len(is_known), columns), dtype)
        if known:
            values[is_known] = known[1][np.searchsorted(known[0], pieces[number][is_known])]
        for row in np.flatnonzero(~is_known).tolist():
            values[row] = next(new)
        at = number * rows
        _done(path, "cannot be written", array[at : at + len(values)].write(values))
    while not _pieces_there(path).issuperset(range(len(pieces))):
        time.sleep(_POLL)
    return StoredResponses(path, array)


def load_arrays(cache: Cache, name: str, like: Params) -> Params | None:
    """What `keep_arrays` has kept; None if there is nothing, or it is corrupt.

    name: `FITTED` or `KEPT`. like: arrays with the same tree structure and shapes.
    """
    found = _done(cache.path, "cannot be read", _store(cache.path).read(name))
    if found.state != "value":
        return None
    try:
        with np.load(io.BytesIO(found.value)) as file:
            leaves = [file[f"arr_{number}"] for number in range(len(file.files))]
    except (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile):
        return None  # RuntimeError: an encrypted or an unknown kind of zip
    expected, structure = jax.tree.flatten(like)
    if [leaf.shape for leaf in leaves] != [np.shape(leaf) for leaf in expected]:
        return None
    return jax.tree.unflatten(structure, leaves)


def keep_arrays(cache: Cache, name: str, tree: Params) -> None:
    """Keeps a tree of arrays in the open cache, as `name`. The first process does it."""
    if cache.share.rank == 0:
        content = io.BytesIO()
        np.savez(content, *map(np.asarray, jax.tree.leaves(tree)))
        written = _store(cache.path).write(name, content.getvalue())
        _done(cache.path, "cannot be written", written)


def forget_fit(cache: Cache) -> None:
    """Deletes the responses that the tasks were fitted to. The first process does it."""
    if cache.share.rank == 0:
        fit = ts.KvStore.KeyRange(f"{FIT}/", f"{FIT}0")  # `0` follows `/`
        _done(cache.path, "cannot be emptied", _store(cache.path).delete_range(fit))


def _open(
    path: str | Path, shape: tuple[int, int], dtype: np.dtype, piece_rows: int
) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        "kvstore": store_spec(path),
        "metadata": {
            "shape": list(shape),
            "data_type": dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [piece_rows, shape[1]]},
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


def _key_text(cache: Cache) -> bytes:
    return json.dumps(cache.key, sort_keys=True, indent=1).encode() + b"\n"


def _empty(cache: Cache) -> None:
    """Deletes all that is stored, and writes the cache's key."""
    store = _store(cache.path)
    _done(cache.path, "cannot be emptied", store.delete_range(ts.KvStore.KeyRange()))
    _done(cache.path, "cannot be written", store.write("key.json", _key_text(cache)))


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
