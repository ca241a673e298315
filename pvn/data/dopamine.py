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

import contextlib
import functools
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from zlib_ng import gzip_ng
from zlib_ng.zlib_ng import error as ZlibError  # noqa: N812

from pvn.data.episodes import CorruptError, Episode, Tally, Unit, choose_checkpoints, pack
from pvn.data.store import FRAME_BYTES, FRAME_SHAPE
from pvn.errors import UserError

PADDING = 3  # all-zero rows before an episode
BLOCK_ROWS = 2048  # frames decompressed at once

_COLUMNS = {"action": "iu", "reward": "f", "terminal": "iub", "add_count": "iu"}  # kinds of dtype


def log_file(folder: Path, name: str, number: int) -> Path:
    """The file of a column of window `number`, or of add_count or invalid_range."""
    stored = f"$store$_{name}" if name in ("observation", "action", "reward", "terminal") else name
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
            for name in _COLUMNS:
                if not log_file(folder, name, number).is_file():
                    raise UserError(f"{log_file(folder, name, number)}: is missing")
            read = functools.partial(read_window, folder, number, skip_corrupt)
            units.append(Unit(f"run {run} window {number}", size, read))
    return units


class _Truncated(CorruptError):
    """A file that ends too early: what came before is right."""


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """Turns what broken files raise into one line with the file's name."""
    try:
        yield
    except EOFError:
        raise _Truncated(f"{file}: is cut off before its end") from None
    except (gzip.BadGzipFile, ValueError, zlib.error, ZlibError) as error:  # type: ignore[misc]
        raise CorruptError(f"{file}: is broken, or no .npy in gzip ({error})") from None
    except OSError as error:  # of the disk: the file itself may be good
        raise UserError(f"{file}: {error.strerror or error}") from None


def _load(file: Path, kinds: str) -> np.ndarray:
    with _named(file), gzip_ng.open(file) as stream:
        array = np.load(io.BytesIO(stream.read()), allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            raise ValueError(f"holds {getattr(array, 'dtype', 'several arrays')}")
        return array


def _read_header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("its .npy version is not 1.0")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran_order:
        raise ValueError("is in Fortran order")
    return shape, dtype


def _read_frames(file: Path, num_rows: int, tally: Tally) -> Iterator[np.ndarray]:
    """The first `num_rows` frames block by block; then the rest is read, for its checksum."""
    with _named(file), file.open("rb") as packed, gzip_ng.open(packed) as stream:
        _read_header(stream)
        left = num_rows
        while left:
            block = np.empty((min(left, BLOCK_ROWS), *FRAME_SHAPE), np.uint8)
            found = 0
            # One by one: of the frames before an early end, few are lost.
            with contextlib.suppress(EOFError):
                while found < len(block) and stream.readinto(block[found].data) == FRAME_BYTES:
                    found += 1
            tally.position = packed.tell()
            yield block[:found]
            left -= found
            if found < len(block):
                raise EOFError
        while stream.read(2**22):
            pass


def read_window(folder: Path, number: int, skip_corrupt: bool, tally: Tally) -> Iterator[Episode]:
    """The episodes of a window, and the pieces of episodes at its edges.

    Raises:
      CorruptError: a file is broken, which may be found at its very end only; it is named.
    """
    action, reward, terminal, add_count = (
        _load(log_file(folder, name, number), kinds) for name, kinds in _COLUMNS.items()
    )
    file = log_file(folder, "observation", number)
    with _named(file), gzip_ng.open(file) as stream:
        shape, dtype = _read_header(stream)
    capacity = action.size
    if {action.shape, reward.shape, terminal.shape} != {(capacity,)} or add_count.size != 1:
        raise CorruptError(
            f"{folder}: window {number} has {list(action.shape)} actions, {list(reward.shape)} "
            f"rewards and {list(terminal.shape)} terminals, expected as many of each"
        )
    if shape != (capacity, *FRAME_SHAPE) or dtype != np.uint8:
        raise CorruptError(
            f"{file}: holds {dtype} {list(shape)}, expected uint8 [{capacity}, 84, 84]"
        )
    added = int(add_count.item())
    cursor = added % capacity if capacity else 0
    if added < 0 or (added >= capacity and cursor != capacity - 1):
        raise CorruptError(
            f"{log_file(folder, 'add_count', number)}: {added} rows were added to a buffer of "
            f"{capacity}, expected {capacity - 1} or fewer, or one less than a multiple of "
            f"{capacity}: a buffer that has wrapped around is no log"
        )
    outside = (action[:cursor] < 0) | (action[:cursor] >= 2**31)
    if outside.any():
        raise CorruptError(
            f"{log_file(folder, 'action', number)}: row {np.argmax(outside)} holds the action "
            f"{action[np.argmax(outside)]}"
        )
    action = action.astype(np.int32)

    def blocks() -> Iterator[tuple[np.ndarray, ...]]:
        start = 0
        for frames in _read_frames(file, cursor, tally):
            span = slice(start, start + len(frames))
            yield frames, action[span], reward[span], terminal[span] != 0
            start = span.stop

    yielded = 0
    try:
        for episode in split_episodes(blocks(), tally):
            yield episode
            yielded += 1
    except ValueError as error:
        raise CorruptError(f"{file}: {error}") from None
    except _Truncated as error:
        if not skip_corrupt:
            raise
        # As far as terminals tell; those that were cut have no mark but their padding.
        ended = terminal[:cursor] != 0
        lost = int(ended.sum() + (not ended[-1:].all())) - yielded
        tally.leave_out("skipped_episodes", str(error), max(lost, 1))


def split_episodes(blocks: Iterator[tuple[np.ndarray, ...]], tally: Tally) -> Iterator[Episode]:
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
            episode.append(pack(frames[span]), action[span], reward[span])
            at, padding = row + 1, 0
            blanks = blanks + 1 if blank[row] else 0
            if terminal[row]:
                episode.terminal = True
                yield episode
                episode, padding = Episode(), PADDING
            elif blanks == PADDING:
                episode.drop_last(PADDING)
                tally.add("cuts_at_padding")
                if episode.num_rows:
                    yield episode
                episode, blanks = Episode(), 0
        if at < len(frames):
            episode.append(pack(frames[at:]), action[at:], reward[at:])
            padding = blanks = 0
    if episode.num_rows:
        yield episode
