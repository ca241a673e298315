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

Each frame is stored once; `pvn.data.transitions` stacks them.

The group's attributes count the rows (`num_rows`). They are written last, and only rows below the
count belong to the dataset. So a writer that dies leaves a valid dataset. The next writer removes
the rows after its end.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pvn import remote
from pvn.types import Array

FORMAT = "pvn-dataset"
VERSION = 2  # version 1 has no array `cut_start`: it is False in all rows

FRAME_SHAPE = (84, 84)
FRAME_BYTES = 84 * 84
SHARD_ROWS = 8192  # frames of a file
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

_COMPRESS: list[dict[str, Any]] = [
    {"name": "zstd", "configuration": {"level": 3, "checksum": False}},
    {"name": "crc32c"},
]
_BYTES: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}


class Rows(NamedTuple):
    """N consecutive rows of a dataset."""

    frame: Array  # uint8 [N, 84, 84]; an array in memory, or `StoredArray` on disk
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


def stored_arrays(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the arrays on disk; `attributes` give the format version and tell of RAM."""
    without = {"cut_start"} if int(attributes["version"]) < 2 else set()
    if not attributes.get("ram"):
        without.add("ram")
    return tuple(name for name in Rows._fields if name not in without)


def rows_of_file(name: str) -> int:
    """Rows that a file of the array `name` holds."""
    return COLUMN_ROWS if name in COLUMNS else SHARD_ROWS


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


def array_metadata(name: str) -> dict[str, Any]:
    """Zarr metadata of the array `name`, with 0 rows."""
    if name in COLUMNS:
        shape, dtype, chunk = [0], COLUMNS[name], [COLUMN_ROWS]
        codecs = [_BYTES, *_COMPRESS]
    elif name == "frame":
        shape, dtype, chunk = [0, *FRAME_SHAPE], "uint8", [SHARD_ROWS, *FRAME_SHAPE]
        codecs = _sharded([CHUNK_ROWS, *FRAME_SHAPE], [])
    else:
        shape, dtype, chunk = [0, RAM_BYTES], "uint8", [SHARD_ROWS, RAM_BYTES]
        # Most bytes change seldom. Stored byte by byte, they take a third to a half of the space.
        transpose = {"name": "transpose", "configuration": {"order": [1, 0]}}
        codecs = _sharded([SHARD_ROWS // 8, RAM_BYTES], [transpose])
    return {
        "shape": shape,
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "codecs": codecs,
    }
