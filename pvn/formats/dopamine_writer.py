"""Writes a dataset as Dopamine logs. Dopamine's own reader finds exactly the dataset's transitions.

That reader treats every row as a transition, with two exceptions. It skips the rows of
`invalid_range` (the last row that was written and the first three). It also skips a row if one of
the three rows before it is terminal. The writer therefore packs whole episodes into windows. A
truncated episode ends its window, because its last row has no next frame. An episode whose start is
missing begins a window. A row of zeros follows the last terminal row of a window.
"""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from zlib_ng import gzip_ng

from pvn.data.layout import Rows
from pvn.data.transitions import episode_spans
from pvn.formats.dopamine import BLOCK_ROWS, PADDING, log_file
from pvn.storage.files import naming, write_whole
from pvn.types import ATARI


class Span(NamedTuple):
    """Rows of a dataset, and the number of rows of zeros before them in a log."""

    padding: int
    start: int
    stop: int


def plan_windows(rows: Rows, capacity: int) -> list[list[Span]]:
    """Plans the windows. A window holds at most capacity - 1 rows, with its last row of zeros.

    Only an episode of capacity - 4 rows or more loses transitions: it is split, or the last row of
    zeros does not fit.

    Args:
      rows: the whole dataset.
      capacity: rows of a window, C.

    Returns:
      The spans of rows in each window.
    """
    firsts, stops = episode_spans(rows.episode)
    windows: list[list[Span]] = []
    room = 0  # free rows in the last window; with 0, the next episode begins a new window
    for start, stop in zip(firsts.tolist(), stops.tolist(), strict=True):
        padding = 0 if rows.cut_start[start] else PADDING
        if room < padding + stop - start + 1 or not padding:
            windows.append([])
            room = capacity - 1
        while padding + stop - start > room:  # an episode larger than a window is split
            part = start + room - padding
            windows[-1].append(Span(padding, start, part))
            windows.append([])
            start, padding, room = part, 0, capacity - 1
        windows[-1].append(Span(padding, start, stop))
        room = room - padding - (stop - start) if rows.terminal[stop - 1] else 0
    return windows


def write_window(folder: Path, number: int, window: list[Span], rows: Rows, capacity: int) -> None:
    """Writes the seven files of window `number`.

    Args:
      folder: `replay_logs`.
      number: of the window, from 0.
      window: from `plan_windows`.
      rows: the whole dataset, with its frames on disk.
      capacity: rows of a window, C.

    Raises:
      OSError: a file cannot be written; the error names the file.
    """
    columns, ends = _columns(window, rows, capacity)
    for name, array in columns.items():
        stream = io.BytesIO()
        np.save(stream, array)
        _write(log_file(folder, name, number), stream.getvalue())
    # Newer versions of Dopamine read the ends of episodes from a pickle.
    _write(log_file(folder, "episode_end_indices", number), pickle.dumps(ends))
    observations = log_file(folder, "observation", number)
    with (
        naming(observations),
        observations.open("wb") as file,
        gzip_ng.GzipNGFile("", "wb", 1, file, mtime=0) as packed,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (capacity, *ATARI.frame)}
        np.lib.format.write_array_header_1_0(packed, header)
        for block in _frames(window, rows, capacity):
            packed.write(np.ascontiguousarray(block).data)


def _columns(
    window: list[Span], rows: Rows, capacity: int
) -> tuple[dict[str, np.ndarray], set[int]]:
    """Returns the arrays of a window, but its frames, and the rows at which episodes end."""
    action = np.zeros(capacity, np.int32)
    reward = np.zeros(capacity, np.float32)
    terminal = np.zeros(capacity, np.uint8)
    ends = set()
    cursor = 0
    for padding, start, stop in window:
        cursor += padding
        here = slice(cursor, cursor + stop - start)
        action[here], terminal[here] = rows.action[start:stop], rows.terminal[start:stop]
        reward[here] = np.clip(rows.reward[start:stop], -1, 1)
        cursor = here.stop
        ends.add(cursor - 1)
    if terminal[cursor - 1] and cursor < capacity - 1:
        cursor += 1  # the reader never samples the last row, so the last row is the row of zeros
    horizon = 1
    around = np.arange(cursor - horizon, cursor + ATARI.stack) % capacity
    columns: dict[str, np.ndarray] = {
        "action": action,
        "reward": reward,
        "terminal": terminal,
        "add_count": np.array(cursor),
        "invalid_range": around,
    }
    return columns, ends


def _frames(window: list[Span], rows: Rows, capacity: int) -> Iterator[np.ndarray]:
    """Yields the frames of a window in blocks: zeros before each span and after the last."""
    written = 0
    for padding, start, stop in window:
        yield np.zeros((padding, *ATARI.frame), np.uint8)
        for row in range(start, stop, BLOCK_ROWS):
            yield rows.frame[row : min(row + BLOCK_ROWS, stop)]
        written += padding + stop - start
    for row in range(written, capacity, BLOCK_ROWS):
        yield np.zeros((min(BLOCK_ROWS, capacity - row), *ATARI.frame), np.uint8)


def _write(file: Path, content: bytes) -> None:
    write_whole(file, gzip_ng.compress(content, 1, mtime=0))
