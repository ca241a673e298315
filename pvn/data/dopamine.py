"""Replay logs of Dopamine: the DQN Replay Dataset, and anyone's own.

`{Game}/{run}/replay_logs/{name}_ckpt.{N}.gz`, each a `.npy` stream in gzip. A window N is a replay
buffer of C rows (1,000,000 as published) as it stood when its cursor had come to its last slot, or
at the end of the run. Row i is the frame before the action, the action, the clipped reward, and
whether that ended the game. What this reader knows of it:

- Only rows before the cursor, add_count mod C, are of this window; the rest is stale or was never
  written. So the indices in `invalid_range` need not be looked at.
- Three all-zero rows stand before an episode. They are told by what they are, after a terminal row
  or anywhere in threes: newer logs have no mark where an episode was cut. Up to three at the very
  start of a window are such rows too.
- A window that begins otherwise begins in mid-episode. Windows are never joined.
- `episode_end_indices` of newer logs is a pickle, and is not read.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from zlib_ng import gzip_ng
from zlib_ng.zlib_ng import error as ZlibError  # noqa: N812

from pvn.data.episodes import CorruptError, Episode, Tally, Unit, choose_checkpoints
from pvn.data.store import FRAME_SHAPE
from pvn.errors import UserError

PADDING = 3  # all-zero rows before an episode
BLOCK_ROWS = 2048  # frames decompressed at once
_LONGEST = 32_768  # rows of an episode that are held until its end is known; then in parts

_DTYPES = {"observation": "u1", "action": "i4", "reward": "f4", "terminal": "u1"}


def log_file(folder: Path, name: str, number: int) -> Path:
    """The file of a column of window `number`, or of add_count or invalid_range."""
    stored = f"$store$_{name}" if name in _DTYPES else name
    return folder / f"{stored}_ckpt.{number}.gz"


def dopamine_units(
    path: Path,
    game: str,
    runs: list[int],
    split: str | None,
    checkpoints: list[int],
    skip_corrupt: bool,
) -> list[Unit]:
    """The windows to convert, in order.

    Args:
      path: the folder that holds `{Game}/{run}/replay_logs`.
      split, checkpoints: see `choose_checkpoints`; windows are the checkpoints.
      skip_corrupt: of a file that ends too early, take the episodes that are whole.

    Raises:
      UserError: what is missing.
    """
    units = []
    for run in runs:
        folder = path / game / str(run) / "replay_logs"
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder, expected Dopamine's replay logs there")
        pattern = re.compile(r"\$store\$_observation_ckpt\.(\d+)\.gz")
        there = [int(m[1]) for file in folder.iterdir() if (m := pattern.fullmatch(file.name))]
        for number in choose_checkpoints(str(folder), there, split, checkpoints):
            size = log_file(folder, "observation", number).stat().st_size
            for name in (*_DTYPES, "add_count"):
                if not log_file(folder, name, number).is_file():
                    raise UserError(f"{log_file(folder, name, number)}: is missing")

            def read(
                tally: Tally, folder: Path = folder, number: int = number
            ) -> Iterator[Episode]:
                return read_window(folder, number, tally, skip_corrupt)

            units.append(Unit(f"run {run} window {number}", size, read))
    return units


class _Npy:
    """A `.npy` stream in gzip, read a number of items at a time."""

    def __init__(self, file: Path):
        self._file = file
        self._raw: BinaryIO = file.open("rb")
        self._stream: Any = gzip_ng.open(self._raw)
        try:
            self.shape, self.dtype = self._guarded(self._header)
        except CorruptError:
            self.close()
            raise

    def _header(self) -> tuple[tuple[int, ...], np.dtype]:
        version = np.lib.format.read_magic(self._stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read(self._stream)
        if dtype.hasobject or (fortran_order and len(shape) > 1):
            raise ValueError(f"holds {dtype}")
        return shape, dtype

    def read(self, count: int) -> np.ndarray:
        """The next `count` items along the first axis (a scalar as it is)."""
        array = self.read_some(count)
        if self.shape and len(array) < count:
            raise self._cut_off()
        return array

    def read_some(self, count: int) -> np.ndarray:
        """Like `read`, but fewer items where the file ends too early."""
        out = np.empty((count, *self.shape[1:]) if self.shape else (), self.dtype)
        item = out.nbytes // (count or 1) if self.shape else out.nbytes
        view = out.reshape(-1).view(np.uint8).data

        def take() -> int:
            filled = 0
            # Frame by frame: of what comes before an early end, no more than one or two are lost.
            step = item if item >= 4096 else len(view)
            while filled < len(view):
                try:
                    piece = self._stream.read1(min(step, len(view) - filled))
                except EOFError:
                    break
                if not piece:
                    break
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
            return filled

        filled = self._guarded(take)
        if not self.shape and filled < item:
            raise self._cut_off()
        return out[: filled // item] if self.shape and item else out

    def finish(self) -> None:
        """Reads to the end, where gzip's checksum is."""

        def skip() -> None:
            while self._stream.read(2**22):
                pass

        self._guarded(skip)

    @property
    def position(self) -> int:
        """Bytes of the file read so far."""
        return self._raw.tell()

    def close(self) -> None:
        self._stream.close()
        self._raw.close()

    def _cut_off(self) -> "_Truncated":
        return _Truncated(f"{self._file}: is cut off before its end")

    def _guarded(self, function: Any) -> Any:
        try:
            return function()
        except EOFError:
            raise self._cut_off() from None
        except (OSError, ValueError, KeyError, zlib.error, ZlibError) as error:  # type: ignore[misc]
            raise CorruptError(f"{self._file}: is broken, or no .npy in gzip ({error})") from None


class _Truncated(CorruptError):
    """A file that ends too early: what came before is right."""


def _read_column(folder: Path, name: str, number: int) -> np.ndarray:
    file = _Npy(log_file(folder, name, number))
    try:
        array = file.read(file.shape[0] if file.shape else 0)
        file.finish()
    finally:
        file.close()
    return array


def read_window(folder: Path, number: int, tally: Tally, skip_corrupt: bool) -> Iterator[Episode]:
    """The episodes of a window, and the pieces of episodes at its edges.

    Raises:
      CorruptError: a file is broken, which may be found at its very end only; it is named.
    """
    action, reward, terminal = (
        _read_column(folder, name, number) for name in ("action", "reward", "terminal")
    )
    add_count = _read_column(folder, "add_count", number)
    name = log_file(folder, "observation", number)
    capacity = len(action) if action.ndim == 1 else -1
    frames = _Npy(name)
    try:
        shapes = {action.shape, reward.shape, terminal.shape, frames.shape[:1]}
        if shapes != {(capacity,)} or frames.shape[1:] != FRAME_SHAPE or frames.dtype != np.uint8:
            raise CorruptError(
                f"{name}: holds {frames.dtype} {list(frames.shape)}, expected uint8 "
                f"[{capacity}, 84, 84], as many rows as action, reward and terminal"
            )
        cursor = int(add_count.reshape(-1)[0]) % capacity if capacity else 0

        def blocks() -> Iterator[tuple[np.ndarray, ...]]:
            for start in range(0, cursor, BLOCK_ROWS):
                span = slice(start, min(start + BLOCK_ROWS, cursor))
                block = frames.read_some(span.stop - span.start)
                tally.position = frames.position
                there = slice(start, start + len(block))
                yield block, action[there], reward[there], terminal[there] != 0
            frames.finish()  # says so, if the file was cut off

        try:
            yield from split_episodes(blocks())
        except _Truncated as error:
            if not skip_corrupt:
                raise
            tally.leave_out("skipped_episodes", str(error))
    finally:
        frames.close()


def split_episodes(blocks: Iterator[tuple[np.ndarray, ...]]) -> Iterator[Episode]:
    """Episodes of a window's current rows: uint8 [n, 84, 84], int [n], float [n], bool [n] each."""
    episode = Episode(cut_start=True)
    padding = PADDING  # all-zero rows that may still follow here, before the next episode
    blanks = 0  # all-zero rows that the episode ends in so far
    for frames, action, reward, terminal in blocks:
        blank = (action == 0) & (reward == 0) & ~terminal
        blank[blank] = ~frames[blank].any(axis=(1, 2))
        at = 0
        for row in np.flatnonzero(blank | terminal).tolist():
            if blank[row] and padding and row == at:
                padding, at = padding - 1, row + 1
                episode = Episode()
                continue
            if row > at:
                blanks = 0
            span = slice(at, row + 1)
            episode.append(frames[span], action[span], reward[span])
            at, padding = row + 1, 0
            blanks = blanks + 1 if blank[row] else 0
            if terminal[row]:
                episode.terminal = True
                yield episode
                episode, padding = Episode(), PADDING
            elif blanks == PADDING:
                episode.drop_last(PADDING)
                if episode.num_rows:
                    yield episode
                episode, blanks = Episode(), 0
        if at < len(frames):
            episode.append(frames[at:], action[at:], reward[at:])
            padding = blanks = 0
        if episode.num_rows > _LONGEST and not blanks:
            rest = episode.split_last()
            yield episode
            episode = rest
    if episode.num_rows:
        yield episode
