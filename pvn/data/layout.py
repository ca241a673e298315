"""What a dataset is on disk: a Zarr v3 group, which `pvn.data.store` reads, `writer` writes.

Any Zarr reader opens it. It has seven or eight arrays of N rows. Row i is one timestep:

    frame      the newest frame of the observation
    action     the action taken
    reward     the reward after it, not clipped
    terminal   the game ended after it
    truncated  the episode was cut after it
    cut_start  the episode was cut before it: the first row of a fragment that begins within an
               episode, as in public logs
    episode    the number of the episode; the rows of an episode are contiguous
    ram        the emulator's 128 bytes of RAM when it showed the frame; only in datasets of
               pvn.collect, whose attributes then have "ram": true

Each frame is stored once; `pvn.data.transitions` joins them to observations. The attribute
"frame_shape" is the shape of a frame, such as [10, 10, 4]. Without it, it is [84, 84].

The group's attributes count the rows (`num_rows`). They are written last, and only rows below the
count belong to the dataset. So a writer that dies leaves a valid dataset. The next writer removes
the rows after its end.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pvn.errors import UserError
from pvn.storage import remote
from pvn.types import ATARI, Array, ObservationSpec

FORMAT = "pvn-dataset"
VERSION = 2  # version 1 has no array `cut_start`: it is False in all rows

SHARD_ROWS = 8192  # rows of a file of frames, or of RAM
CHUNK_ROWS = 64  # frames compressed together; consecutive frames are alike
RAM_BYTES = 128
COLUMN_ROWS = 65536  # rows of a file of any other array

COLUMNS: dict[str, str] = {
    "action": "int32",
    "reward": "float32",
    "terminal": "bool",
    "truncated": "bool",
    "cut_start": "bool",
    "episode": "int32",
}

OWN_FILE = re.compile(  # the names of a dataset's files in its folder
    rf"(({'|'.join(['frame', *COLUMNS, 'ram'])})/)?zarr\.json|frame/c/\d+/0/0(/0)?|ram/c/\d+/0|"
    rf"({'|'.join(COLUMNS)})/c/\d+"
)

_COMPRESS: list[dict[str, Any]] = [
    {"name": "zstd", "configuration": {"level": 3, "checksum": False}},
    {"name": "crc32c"},
]
_BYTES: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}


class Rows(NamedTuple):
    """N consecutive rows of a dataset."""

    frame: Array  # uint8 [N, *frame]; an array in memory, or `StoredArray` on disk
    action: np.ndarray  # int32 [N]
    reward: np.ndarray  # float32 [N]
    terminal: np.ndarray  # bool [N]
    truncated: np.ndarray  # bool [N]
    cut_start: np.ndarray  # bool [N]
    episode: np.ndarray  # int32 [N]
    ram: Array | None = None  # uint8 [N, 128], as `frame`; None: the dataset has none

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The arrays [N] by name, which are always in memory."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def observation(self) -> ObservationSpec:
        """What an observation is."""
        return ObservationSpec(tuple(self.frame.shape[1:]))


def observation_of(path: str | Path, attributes: Mapping[str, Any]) -> ObservationSpec:
    """What an observation of the dataset at `path` is.

    Raises:
      UserError: the attribute is malformed.
    """
    shape = attributes.get("frame_shape", ATARI.frame)
    valid = isinstance(shape, list | tuple) and len(shape) in (2, 3)
    if not valid or not all(type(number) is int and number > 0 for number in shape):
        raise UserError(
            f"dataset {path}: attribute frame_shape is {shape}, expected the shape of a frame, as "
            "[10, 10, 4]"
        )
    return ObservationSpec(tuple(shape))


def frame_attribute(spec: ObservationSpec) -> dict[str, Any]:
    """The attributes of a dataset that say what an observation is: none for Atari."""
    return {} if spec == ATARI else {"frame_shape": list(spec.frame)}


def stored_arrays(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the arrays on disk; `attributes` give the format version and tell of RAM."""
    without = {"cut_start"} if int(attributes["version"]) < 2 else set()
    if not attributes.get("ram"):
        without.add("ram")
    return tuple(name for name in Rows._fields if name not in without)


def rows_of_file(name: str) -> int:
    """Rows that a file of the array `name` holds."""
    return COLUMN_ROWS if name in COLUMNS else SHARD_ROWS


def rows_of_chunk(name: str) -> int:
    """Rows of the array `name` that are compressed together."""
    return {"frame": CHUNK_ROWS, "ram": SHARD_ROWS // 8}.get(name, COLUMN_ROWS)


def array_spec(path: str | Path, name: str) -> dict[str, Any]:
    """tensorstore's spec of the array `name` of `Rows`."""
    store = remote.store_spec(path)
    return {
        "driver": "zarr3",
        "kvstore": store | {"path": f"{store['path']}{name}/"},
        # Chunks of zeros are written too; so a missing file is never a chunk of zeros.
        "store_data_equal_to_fill_value": True,
    }


def _sharded(chunk: list[int], first: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The codecs of an array whose files hold many chunks; `first` are applied to a chunk."""
    configuration = {
        "chunk_shape": chunk,
        "codecs": [*first, _BYTES, *_COMPRESS],
        "index_codecs": [_BYTES, {"name": "crc32c"}],
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]


def chunk_key(name: str, number: int, spec: ObservationSpec) -> str:
    """Name of a file of the array `name`."""
    inner = {"frame": len(spec.frame), "ram": 1}.get(name, 0)
    return f"{name}/c/{number}" + "/0" * inner


def array_metadata(name: str, spec: ObservationSpec) -> dict[str, Any]:
    """Zarr metadata of the array `name`, with 0 rows.

    spec: what an observation is.
    """
    if name in COLUMNS:
        shape, dtype, chunk = [0], COLUMNS[name], [COLUMN_ROWS]
        codecs = [_BYTES, *_COMPRESS]
    elif name == "frame":
        shape, dtype, chunk = [0, *spec.frame], "uint8", [SHARD_ROWS, *spec.frame]
        codecs = _sharded([rows_of_chunk(name), *spec.frame], [])
    else:
        shape, dtype, chunk = [0, RAM_BYTES], "uint8", [SHARD_ROWS, RAM_BYTES]
        # Most bytes change seldom. Stored byte by byte, they take a third to a half of the space.
        transpose = {"name": "transpose", "configuration": {"order": [1, 0]}}
        codecs = _sharded([rows_of_chunk(name), RAM_BYTES], [transpose])
    return {
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "codecs": codecs,
    }
