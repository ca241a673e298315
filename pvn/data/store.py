"""Reads a dataset with tensorstore. `pvn.data.layout` says what is on disk, `writer` writes it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorstore as ts

from pvn.data.layout import (
    FORMAT,
    OWN_FILE,
    VERSION,
    Rows,
    array_metadata,
    array_spec,
    chunk_key,
    observation_of,
    rows_of_file,
    stored_arrays,
)
from pvn.errors import UserError
from pvn.storage import remote
from pvn.storage.paths import check_folder, is_remote
from pvn.types import ObservationSpec

_CACHE = 2**24  # bytes, for the indices of shards, which are read a few chunks at a time

_ATTRIBUTES: dict[str, type] = {
    **{"num_rows": int, "num_episodes": int, "game": str, "num_actions": int},
    **{"protocol": dict, "source": dict},
}

Index = slice | np.ndarray
"""Which rows: a slice, row numbers int [...] of any shape, or a mask bool [N]."""


def rows_of(rows: Index, num_rows: int) -> Index:
    """`rows` of an array of `num_rows` rows, as a slice with both ends and step 1 or as numbers."""
    if isinstance(rows, slice):
        start, stop, step = rows.indices(num_rows)
        return slice(start, max(start, stop)) if step == 1 else np.arange(num_rows)[rows]
    rows = np.asarray(rows)
    return np.arange(num_rows)[rows] if rows.dtype == bool else rows


class StoredArray:
    """Frames uint8 [N, *frame] or RAM uint8 [N, 128] on disk. Indexing checks the checksums."""

    def __init__(self, path: str | Path, name: str, array: ts.TensorStore):
        self._path, self._name, self._array = path, name, array
        self.shape = tuple(array.shape)

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def __getitem__(self, rows: Index) -> np.ndarray:
        """uint8 [..., *frame] or [..., 128] at these rows.

        Raises:
          UserError: a file is corrupt or missing; the message names it.
        """
        rows = rows_of(rows, len(self))
        if isinstance(rows, slice):
            return _read(self._path, self._name, self._array[rows])
        values = _read(self._path, self._name, self._array[rows.ravel()])
        return values.reshape(*rows.shape, *values.shape[1:])


def result_of(path: str | Path, problem: str, future: Any) -> Any:
    """The result of a tensorstore future.

    Raises:
      UserError: the future failed with a ValueError or OSError. The message is one line with
        `problem` and tensorstore's reason.
    """
    return remote.result_of(f"dataset {path}", problem, future)


def _read(path: str | Path, name: str, array: ts.TensorStore) -> np.ndarray:
    return np.asarray(result_of(path, f"array {name} cannot be read", array.read()))


class Dataset(NamedTuple):
    """A dataset, or several as one. The columns are in memory, the frames there or on disk."""

    paths: tuple[str, ...]
    attributes: dict[str, Any]  # of several: game, num_actions, protocol, list of sources
    rows: Rows  # N rows; dataset k has rows starts[k] .. starts[k + 1] (exclusive)
    starts: np.ndarray  # int64 [K + 1]

    @property
    def path(self) -> str:
        """The paths, comma-separated."""
        return ",".join(self.paths)

    def compute_fingerprint(self) -> str:
        """SHA-256 over the files of all datasets. Reads all of them; see `fingerprint`.

        Raises:
          UserError: two datasets hold the same data, so each row would count twice.
        """
        prints = [fingerprint(path) for path in self.paths]
        for number, each in enumerate(prints):
            if each in prints[:number]:
                raise UserError(
                    f"dataset {self.paths[number]}: holds the same data as "
                    f"{self.paths[prints.index(each)]}; expected each dataset once"
                )
        if len(prints) == 1:
            return prints[0]
        return hashlib.sha256("".join(prints).encode()).hexdigest()


def open_store(path: str | Path) -> ts.KvStore:
    """Opens the key-value store at `path`; a dataset need not exist there.

    Raises:
      UserError: the path is empty, or it or a folder above it is not a directory.
    """
    if not str(path).strip():
        raise UserError("dataset: its path is empty, expected a directory or gs://bucket/path")
    if not is_remote(path):
        check_folder(path, f"dataset {path}")
    return result_of(path, "cannot be opened", ts.KvStore.open(remote.store_spec(path)))


def own_files(path: str | Path) -> list[bytes]:
    """Sorted names of the files that belong to the dataset format. Other files are left out."""
    keys = result_of(path, "cannot be listed", open_store(path).list())
    return sorted(key for key in keys if OWN_FILE.fullmatch(key.decode(errors="replace")))


def _read_group(path: str | Path) -> Any:
    read = open_store(path).read("zarr.json")
    timeout = remote.ANSWER_SECONDS if is_remote(path) else remote.PATIENCE_SECONDS
    return remote.result_of(f"dataset {path}", "zarr.json cannot be read", read, timeout)


def read_attributes(path: str | Path) -> dict[str, Any]:
    """The attributes of the dataset at `path`.

    Raises:
      UserError: there is no dataset, or this version cannot read it.
    """
    raw = _read_group(path)
    if raw.state != "value":
        there = is_remote(path) or Path(path).exists()
        what = "holds none (no zarr.json)" if there else "does not exist"
        raise UserError(f"dataset {path}: {what}; make one with python -m pvn.collect")
    try:
        attributes = json.loads(bytes(raw.value))["attributes"]
        name, version = attributes["format"], int(attributes["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"dataset {path}: zarr.json is not that of a {FORMAT} ({error!r}); "
            "make one with python -m pvn.collect"
        ) from None
    if name != FORMAT:
        raise UserError(f"dataset {path}: its format is {name!r}, expected {FORMAT!r}")
    if version > VERSION:
        raise UserError(
            f"dataset {path}: format version {version} is newer than {VERSION}, "
            "the newest this pvn reads; upgrade pvn"
        )
    for key, kind in _ATTRIBUTES.items():
        if not isinstance(attributes.get(key), kind):
            raise UserError(f"dataset {path}: zarr.json lacks the attribute {key!r}")
    return dict(attributes)


def fingerprint(path: str | Path) -> str:
    """SHA-256 over the names and bytes of the dataset's own files, in the order of the names.

    It identifies the data. It does not depend on the path or on other files in the folder.
    """
    store = open_store(path)
    digest = hashlib.sha256()
    for key in own_files(path):
        value = result_of(path, f"{key.decode()} cannot be read", store.read(key)).value
        digest.update(key + b"\0" + hashlib.sha256(value).digest())
    return digest.hexdigest()


def longer_arrays(dataset: Dataset) -> Iterator[str]:
    """Yields a line for each array with more rows than `num_rows`.

    Then a writer has died, or is still writing.
    """
    for name in stored_arrays(dataset.attributes):
        array = ts.open(array_spec(dataset.path, name), open=True)
        stored = result_of(dataset.path, f"array {name} cannot be read", array).shape[0]
        if stored > len(dataset.rows.action):
            yield f"array {name} has {stored} rows, zarr.json says {len(dataset.rows.action)}"


def stored_bytes(path: str | Path) -> int | None:
    """Bytes of the dataset's own files. None on `gs://`, where tensorstore lists no sizes."""
    if is_remote(path):
        return None
    return sum((Path(path) / key.decode()).stat().st_size for key in own_files(path))


def unfinished(attributes: Mapping[str, Any]) -> str:
    """A message if a conversion is not complete; an empty string for any other dataset."""
    files = attributes.get("source", {}).get("files")
    if files is None or (done := attributes["complete"]["units"]) == len(files):
        return ""
    return f"holds {done} of {len(files)} files: the same pvn.convert command completes it"


def _check_complete(path: str | Path, attributes: Mapping[str, Any]) -> None:
    """Raises `UserError` if a file is missing. Zarr would read its chunk as zeros."""
    keys, num_rows = set(own_files(path)), int(attributes["num_rows"])
    spec = observation_of(path, attributes)
    for name in stored_arrays(attributes):
        for chunk in range(-(-num_rows // rows_of_file(name))):
            if (key := chunk_key(name, chunk, spec)).encode() not in keys:
                raise UserError(f"dataset {path}: file {key} is missing")


def _open_array(
    path: str | Path, name: str, num_rows: int, observation: ObservationSpec
) -> ts.TensorStore:
    """The first `num_rows` rows of an array, with its shape and dtype checked."""
    spec = array_spec(path, name) | {
        "context": {"cache_pool": {"total_bytes_limit": _CACHE}},
        # A file that is deleted during a run must not be read as zeros.
        "fill_missing_data_reads": False,
    }
    array = result_of(path, f"array {name} cannot be read", ts.open(spec, open=True))
    expected = array_metadata(name, observation)
    if list(array.shape[1:]) != expected["shape"][1:] or array.dtype.name != expected["data_type"]:
        raise UserError(
            f"dataset {path}: array {name} is {array.dtype.name} {list(array.shape)}, "
            f"expected {expected['data_type']} [N, {str(expected['shape'][1:])[1:]}"
        )
    if array.shape[0] < num_rows:
        raise UserError(
            f"dataset {path}: array {name} has {array.shape[0]} rows, zarr.json says {num_rows}"
        )
    return array[:num_rows]


def open_dataset(path: str | Path) -> Dataset:
    """The dataset with all columns in memory (15 bytes a row), its frames and RAM on disk.

    Raises:
      UserError: there is no dataset, it has another format, a newer version or no rows, or a file
        is missing or corrupt; the message names it.
    """
    attributes = read_attributes(path)
    num_rows = int(attributes["num_rows"])
    if num_rows == 0:
        raise UserError(f"dataset {path}: holds no rows; collect some with python -m pvn.collect")
    spec = observation_of(path, attributes)
    arrays = {name: _open_array(path, name, num_rows, spec) for name in stored_arrays(attributes)}
    _check_complete(path, attributes)
    frame = StoredArray(path, "frame", arrays.pop("frame"))
    ram = StoredArray(path, "ram", arrays.pop("ram")) if "ram" in arrays else None
    columns = {name: _read(path, name, array) for name, array in arrays.items()}
    columns.setdefault("cut_start", np.zeros(num_rows, bool))
    rows = Rows(frame=frame, ram=ram, **columns)
    return Dataset((str(path),), attributes, rows, np.array([0, num_rows]))


def dataset_exists(path: str | Path) -> bool:
    """Whether `path` has a zarr.json; it need not be that of a dataset."""
    return bool(_read_group(path).state == "value")
