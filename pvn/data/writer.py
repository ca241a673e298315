"""Writes a dataset. Rows are appended first; publishing makes them part of the dataset."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from pvn.data import layout, store
from pvn.data.layout import Rows
from pvn.errors import UserError
from pvn.storage.files import Lock, Locked
from pvn.storage.paths import is_remote
from pvn.storage.remote import delete_unfinished


def check_same(path: str | Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Checks that a dataset may be extended.

    old: the dataset's attributes. new: the attributes that it must have.

    Raises:
      UserError: an attribute of `new` is missing in `old` or differs; the message names it.
    """
    for key, value in new.items():
        if old.get(key) != value:
            raise UserError(
                f"dataset {path}: was made with another {key} ({old.get(key)}, now {value}); name "
                "another --dataset or pass --overwrite"
            )


def _lock(path: str | Path) -> Lock | None:
    """Locks a local dataset against other writers in any process. None for `gs://`.

    Raises:
      UserError: another writer has locked it, or it cannot be written.
    """
    if is_remote(path):
        return None
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        return Lock(Path(path))
    except Locked:
        raise UserError(
            f"dataset {path}: another command is writing it; wait for its end, or name another "
            "--dataset"
        ) from None
    except OSError as error:
        raise UserError(f"dataset {path}: cannot be written: {error.strerror}") from None


def delete_dataset(path: str | Path) -> None:
    """Deletes the dataset at `path` and no other file.

    Raises:
      UserError: there is no dataset, another writer has locked it, or a file cannot be deleted.
    """
    store.read_attributes(path)
    lock = _lock(path)
    files = store.open_store(path)
    for key in store.own_files(path):  # zarr.json, which makes it a dataset, is the last
        store.result_of(path, "cannot be deleted", files.write(key, None))
    if lock:
        lock.release()


class DatasetWriter:
    """Appends rows to a new or existing dataset. Readers see rows only after they are published.

    Every method that writes raises `UserError` if the disk refuses.
    """

    def __init__(
        self,
        path: str | Path,
        attributes: Mapping[str, Any],
        check: Callable[[Mapping[str, Any]], None] = lambda old: None,
    ):
        """Opens the dataset at `path` for writing, or creates it with these attributes.

        Removes rows that another writer did not publish before it died.

        Args:
          path: local folder or `gs://bucket/path`.
          attributes: game, protocol, source, and anything else about the origin of the rows; with
            "ram": true the rows have RAM; "frame_shape" is the shape of a frame. An existing
            dataset keeps its own.
          check: called with the attributes of an existing dataset before anything is changed. It
            raises an error if the dataset must not be extended.

        Raises:
          UserError: `path` holds something else or an older version, it cannot be written, or
            another writer has locked it.
        """
        self.num_written = 0  # number of rows, published or not
        self._path = path
        self._store = store.open_store(path)
        if store.dataset_exists(path):
            check(store.read_attributes(path))
        self._lock = _lock(path)
        delete_unfinished(path, layout.OWN_FILE)
        new = not store.dataset_exists(path)
        self.attributes = self._new_attributes(attributes) if new else self._old_attributes()
        observation = layout.observation_of(path, self.attributes)
        self._arrays = {}
        for name in layout.stored_arrays(self.attributes):
            spec = layout.array_spec(path, name)
            if new:
                spec["metadata"] = layout.array_metadata(name, observation)
            self._arrays[name] = self._done(ts.open(spec, create=new, open=not new))
        if new:
            self._write_attributes()
        self.discard()

    def _new_attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        # A writer that died at once has left only the metadata of the arrays.
        left = store.own_files(self._path)
        foreign = [key for key in left if not key.endswith(b"/zarr.json")]
        if foreign:
            raise UserError(
                f"dataset {self._path}: holds {foreign[0].decode()} but no dataset (no zarr.json); "
                "name another --dataset"
            )
        for key in left:
            self._done(self._store.write(key, None))
        return {
            "format": layout.FORMAT,
            "version": layout.VERSION,
            "num_rows": 0,
            "num_episodes": 0,
            **attributes,
        }

    def _old_attributes(self) -> dict[str, Any]:
        attributes = store.read_attributes(self._path)
        if (version := attributes["version"]) != layout.VERSION:
            raise UserError(
                f"dataset {self._path}: is of format version {version}, which is read but not "
                "extended; name another --dataset or pass --overwrite"
            )
        return attributes

    @property
    def num_rows(self) -> int:
        """Number of published rows."""
        return int(self.attributes["num_rows"])

    def append(self, rows: Rows) -> None:
        """Writes `rows` after the last written row, without publishing them."""
        start, stop = self.num_written, self.num_written + len(rows.action)
        columns = {name: getattr(rows, name) for name in self._arrays}
        # The metadata must grow before the chunks are written. All arrays grow at the same time, so
        # that this waits for the disk once, not once for each.
        grown = {
            name: self._arrays[name].resize(exclusive_max=[stop, *values.shape[1:]])
            for name, values in columns.items()
        }
        # Wait for all, even if one fails: no write may be under way when `discard` runs.
        self._arrays |= {name: a.result() for name, a in grown.items() if a.exception() is None}
        for future in grown.values():
            self._done(future)
        writes = [self._arrays[name][start:stop].write(columns[name]) for name in columns]
        for write in writes:
            write.exception()
        for write in writes:
            self._done(write)
        self.num_written, self._num_episodes = stop, int(rows.episode[-1]) + 1

    def publish(self, **attributes: Any) -> None:
        """Publishes all rows written so far, and sets these attributes at the same time."""
        self.attributes |= {
            "num_rows": self.num_written,
            "num_episodes": self._num_episodes,
            **attributes,
        }
        self._write_attributes()

    def commit(self, rows: Rows, **attributes: Any) -> None:
        """Writes `rows` and publishes them."""
        self.append(rows)
        self.publish(**attributes)

    def discard(self) -> None:
        """Removes all rows that are written but not published."""
        self.num_written = self.num_rows
        self._num_episodes = int(self.attributes["num_episodes"])
        for name, array in self._arrays.items():
            if array.shape[0] > self.num_rows:
                self._erase(name, array)
                self._arrays[name] = self._done(
                    array.resize(exclusive_max=[self.num_rows, *array.shape[1:]])
                )

    def _erase(self, name: str, array: ts.TensorStore) -> None:
        """Makes the last file as if the rows after `num_rows` had never been written.

        `resize` deletes whole files only.
        """
        rows, zero = self.num_rows, np.zeros((), array.dtype.numpy_dtype)
        chunk, file = (
            min(-(-rows // size) * size, array.shape[0])
            for size in (layout.rows_of_chunk(name), layout.rows_of_file(name))
        )
        if chunk > rows:
            self._done(array[rows:chunk].write(zero))
        if file > chunk:  # chunks that only hold these rows
            spec = layout.array_spec(self._path, name) | {"store_data_equal_to_fill_value": False}
            sparse = self._done(ts.open(spec, open=True))
            self._done(sparse[chunk:file].write(zero))

    def rewind(self, num_rows: int, num_episodes: int) -> None:
        """Removes the published rows from `num_rows` on, so that `num_episodes` are left."""
        self.attributes |= {"num_rows": num_rows, "num_episodes": num_episodes}
        self._write_attributes()
        self.discard()

    def _write_attributes(self) -> None:
        group = {"zarr_format": 3, "node_type": "group", "attributes": self.attributes}
        self._done(self._store.write("zarr.json", json.dumps(group, indent=1).encode()))

    def _done(self, future: Any) -> Any:
        return store.result_of(self._path, "cannot be written", future)
