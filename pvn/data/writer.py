"""Writing a dataset: rows are appended, and count once they are published."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from pvn.data import store
from pvn.data.store import Rows
from pvn.errors import UserError
from pvn.files import Lock, Locked


def check_same(path: str | Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises `UserError` unless all of `new` stands in the attributes of a dataset."""
    for key, value in new.items():
        if old.get(key) != value:
            raise UserError(
                f"dataset {path}: was made with another {key} ({old.get(key)}, now {value}); name "
                "another --dataset or pass --overwrite"
            )


def _lock(path: str | Path) -> Lock | None:
    """Keeps other writers off a local dataset, also those of other processes.

    Raises:
      UserError: another writer has it, or it cannot be written.
    """
    if str(path).startswith("gs://"):
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
    """Removes the dataset at `path` and no other file; refuses what is not one."""
    store.read_attributes(path)
    lock = _lock(path)
    files = store.open_store(path)
    for key in store.own_files(files):  # sorted: zarr.json, without which it is none, goes last
        store.result_of(path, "cannot be deleted", files.write(key, None))
    if lock:
        lock.release()


class DatasetWriter:
    """Appends rows to a dataset, new or begun. They count once they are published."""

    def __init__(
        self,
        path: str | Path,
        attributes: Mapping[str, Any],
        check: Callable[[Mapping[str, Any]], None] = lambda old: None,
    ):
        """Opens `path` for writing; makes it if there is none, with these attributes.

        Rows that another writer left there unpublished when it died are taken away.

        Args:
          path: local folder or `gs://bucket/path`.
          attributes: game, protocol, source and whatever tells where the rows come from. Those of
            an existing dataset win.
          check: called with the attributes of a dataset that is there, before anything is changed;
            raises where it must not be.

        Raises:
          UserError: something else is there, it cannot be written, or another writer is at it.
        """
        self.num_written = 0  # rows, those that do not count yet included
        self._path = path
        self._store = store.open_store(path)
        if store.dataset_exists(path):
            check(store.read_attributes(path))
        self._lock = _lock(path)
        new = not store.dataset_exists(path)
        if new:
            # A writer that died at birth leaves the arrays' metadata and nothing else.
            left = store.own_files(self._store)
            foreign = [key for key in left if not key.endswith(b"/zarr.json")]
            if foreign:
                raise UserError(
                    f"dataset {path}: holds {foreign[0].decode()} but no dataset (no zarr.json); "
                    "name another --dataset"
                )
            for key in left:
                self._done(self._store.write(key, None))
            self.attributes = {
                "format": store.FORMAT,
                "version": store.VERSION,
                "num_rows": 0,
                "num_episodes": 0,
                **attributes,
            }
        else:
            self.attributes = store.read_attributes(path)
            if (version := self.attributes["version"]) != store.VERSION:
                raise UserError(
                    f"dataset {path}: is of format version {version}, which is read but not "
                    "extended; name another --dataset or pass --overwrite"
                )
        self._arrays = {}
        for name in Rows._fields:
            spec = store.array_spec(path, name)
            if new:
                spec["metadata"] = store.array_metadata(name)
            self._arrays[name] = self._done(ts.open(spec, create=new, open=not new))
        if new:
            self._write_attributes()
        self.discard()

    @property
    def num_rows(self) -> int:
        """Rows that count."""
        return int(self.attributes["num_rows"])

    def append(self, rows: Rows) -> None:
        """Writes `rows` after the last that were written."""
        start, stop = self.num_written, self.num_written + len(rows.action)
        columns = rows._asdict()
        # No implicit resize: the metadata grows first, the chunks follow; of all arrays at once,
        # for the disk is waited for.
        grown = {
            name: self._arrays[name].resize(exclusive_max=[stop, *values.shape[1:]])
            for name, values in columns.items()
        }
        # Each is waited for, whatever became of the others: none goes on behind `discard`.
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
        """Makes all that is written count, together with the attributes."""
        self.attributes |= {
            "num_rows": self.num_written,
            "num_episodes": self._num_episodes,
            **attributes,
        }
        self._write_attributes()

    def commit(self, rows: Rows, **attributes: Any) -> None:
        """Writes `rows` and makes them count."""
        self.append(rows)
        self.publish(**attributes)

    def discard(self) -> None:
        """Takes away the rows that are written and do not count."""
        self.num_written = self.num_rows
        self._num_episodes = int(self.attributes["num_episodes"])
        for name, array in self._arrays.items():
            if array.shape[0] > self.num_rows:
                # Zeros, as in a chunk that nobody wrote before; whole chunks are deleted.
                chunk = store.SHARD_ROWS if name == "frame" else store.COLUMN_ROWS
                edge = min(-(-self.num_rows // chunk) * chunk, array.shape[0])
                if edge > self.num_rows:
                    zero = np.zeros((), array.dtype.numpy_dtype)
                    self._done(array[self.num_rows : edge].write(zero))
                self._arrays[name] = self._done(
                    array.resize(exclusive_max=[self.num_rows, *array.shape[1:]])
                )

    def rewind(self, num_rows: int, num_episodes: int) -> None:
        """Takes rows from `num_rows` on out of the dataset."""
        self.attributes |= {"num_rows": num_rows, "num_episodes": num_episodes}
        self._write_attributes()
        self.discard()

    def _write_attributes(self) -> None:
        group = {"zarr_format": 3, "node_type": "group", "attributes": self.attributes}
        self._done(self._store.write("zarr.json", json.dumps(group, indent=1).encode()))

    def _done(self, future: Any) -> Any:
        return store.result_of(self._path, "cannot be written", future)
