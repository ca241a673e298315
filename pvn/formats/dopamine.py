"""Reads replay logs of Dopamine: the DQN Replay Dataset, and a user's own logs.

The files are `{Game}/{run}/replay_logs/{name}_ckpt.{N}.gz`, each a `.npy` stream in gzip. Window N
is a replay buffer of C rows (1,000,000 as published). It was saved when its cursor reached the last
slot, or at the end of the run. Row i holds the frame before the action, the action, the clipped
reward, and whether the action ended the game. The reader relies on these facts:

- Only rows before the cursor (add_count mod C) belong to the window. The other rows are stale or
  were never written. The indices in `invalid_range` are therefore not needed.
- Three all-zero rows, the padding, precede each episode. They are recognised by their content. They
  may follow a terminal row. Three all-zero rows elsewhere mark a truncation, because newer logs
  have no other mark of it. Up to three all-zero rows at the start of a window are padding too.
- A window that starts with another row starts in the middle of an episode. Windows are never
  joined.
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

from pvn.errors import UserError
from pvn.formats.checkpoints import choose_checkpoints
from pvn.formats.episode import RecordedEpisode
from pvn.formats.findings import Findings
from pvn.formats.inputs import CorruptError, InputFile, Inputs, Selection
from pvn.formats.packing import pack
from pvn.types import ATARI

PADDING = 3  # all-zero rows before an episode
BLOCK_ROWS = 2048  # frames that are decompressed together

# The valid kinds of dtype of each file, as in `numpy.dtype.kind`.
_COLUMNS = {"action": "iu", "reward": "f", "terminal": "iub", "add_count": "iu"}


def log_file(folder: Path, name: str, number: int) -> Path:
    """The file of window `number` that holds a column, add_count, or invalid_range."""
    stored = f"$store$_{name}" if name in ("observation", "action", "reward", "terminal") else name
    return folder / f"{stored}_ckpt.{number}.gz"


def find_windows(selection: Selection, *, skip_corrupt: bool) -> Inputs:
    """The windows to convert, in order. A window is a checkpoint of Dopamine.

    Args:
      selection: its `path` holds `{Game}/{run}/replay_logs`.
      skip_corrupt: whether to read the complete episodes of an observation file that ends too
        early.

    Raises:
      UserError: a run has no logs.
    """
    found = Inputs([], [])
    needed = ("observation", *_COLUMNS)
    for run in selection.runs:
        folder = selection.path / selection.game / str(run) / "replay_logs"
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder, expected Dopamine's replay logs there")
        # If any file of a window exists, all of its files should exist.
        names = (re.fullmatch(r".+_ckpt\.(\d+)\.gz", file.name) for file in folder.iterdir())
        there = {int(match[1]) for match in names if match}
        chosen, missing = choose_checkpoints(
            str(folder), there, selection.split, selection.checkpoints
        )
        found.missing.extend(missing)
        for number in chosen:
            files = [log_file(folder, name, number) for name in needed]
            if absent := [file for file in files if not file.is_file()]:
                others = "".join(f", {file.name}" for file in absent[1:])
                found.missing.append(f"{absent[0]}{others}: missing from window {number}")
                continue
            read = functools.partial(read_window, folder, number, skip_corrupt)
            size = files[0].stat().st_size
            found.files.append(InputFile(f"run {run} window {number}", size, read))
    return found


class _Truncated(CorruptError):
    """A file ends too early. Its content up to that point is valid."""


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """Turns the errors of a broken file into errors of one line that name the file."""
    try:
        yield
    except EOFError:
        raise _Truncated(f"{file}: is cut off before its end") from None
    except (gzip.BadGzipFile, ValueError, zlib.error, ZlibError) as error:  # type: ignore[misc]
        raise CorruptError(f"{file}: is broken, or no .npy in gzip ({error})") from None
    except OSError as error:  # the disk failed; the file may be valid
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


def _read_frames(file: Path, num_rows: int, findings: Findings) -> Iterator[np.ndarray]:
    """Yields the first `num_rows` frames in blocks, then reads the rest to verify the checksum."""
    with _named(file), file.open("rb") as packed, gzip_ng.open(packed) as stream:
        _read_header(stream)
        left = num_rows
        while left:
            block = np.empty((min(left, BLOCK_ROWS), *ATARI.frame), np.uint8)
            found = 0
            # Frames are read one by one, so that all frames before an early end are kept.
            with contextlib.suppress(EOFError):
                size = ATARI.frame_bytes
                while found < len(block) and stream.readinto(block[found].data) == size:
                    found += 1
            findings.bytes_read = packed.tell()
            yield block[:found]
            left -= found
            if found < len(block):
                raise EOFError
        while stream.read(2**22):
            pass


def _read_columns(folder: Path, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Reads and checks the actions, rewards and terminals of a window, [C] each, and its cursor.

    Raises:
      CorruptError: a file is broken, or a log cannot have this content.
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
    if shape != (capacity, *ATARI.frame) or dtype != np.uint8:
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
    return action.astype(np.int32), reward, terminal, cursor


def read_window(
    folder: Path, number: int, skip_corrupt: bool, findings: Findings
) -> Iterator[RecordedEpisode]:
    """Yields the episodes of a window, and the fragments of episodes at its start and end.

    Args:
      folder: `replay_logs`.
      number: N.
      skip_corrupt: as in `find_windows`.
      findings: gets the counts and the messages.

    Raises:
      CorruptError: a file is broken. The error may come after the last episode, because the
        checksum is at the end of a file.
    """
    action, reward, terminal, cursor = _read_columns(folder, number)
    file = log_file(folder, "observation", number)

    def blocks() -> Iterator[tuple[np.ndarray, ...]]:
        start = 0
        for frames in _read_frames(file, cursor, findings):
            span = slice(start, start + len(frames))
            yield frames, action[span], reward[span], terminal[span] != 0
            start = span.stop

    yielded = 0
    try:
        for episode in split_episodes(blocks(), findings):
            yield episode
            yielded += 1
    except ValueError as error:
        raise CorruptError(f"{file}: {error}") from None
    except _Truncated as error:
        if not skip_corrupt:
            raise
        # Terminals are counted: only padding marks a truncated episode.
        ended = terminal[:cursor] != 0
        lost = int(ended.sum() + (not ended[-1:].all())) - yielded
        findings.leave_out("skipped_episodes", str(error), max(lost, 1))


def split_episodes(
    blocks: Iterator[tuple[np.ndarray, ...]], findings: Findings
) -> Iterator[RecordedEpisode]:
    """Splits the rows of a window into episodes.

    Args:
      blocks: frames uint8 [n, 84, 84], actions int [n], rewards float [n], terminals bool [n].
      findings: counts the truncations that only padding marks, as `cuts_at_padding`.

    Raises:
      ValueError: an episode is longer than any game allows.
    """
    episode = RecordedEpisode(cut_start=True)
    padding = PADDING  # number of padding rows that may still come before the next episode
    blanks = 0  # number of all-zero rows at the end of the episode so far
    for frames, action, reward, terminal in blocks:
        blank = (action == 0) & (reward == 0) & ~terminal
        blank[blank] = ~frames[blank].any(axis=(1, 2))
        at = 0
        for row in np.flatnonzero(blank | terminal).tolist():
            if blank[row] and padding and row == at:
                padding, at = padding - 1, row + 1
                episode = RecordedEpisode()
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
                episode, padding = RecordedEpisode(), PADDING
            elif blanks == PADDING:
                episode.drop_last(PADDING)
                findings.add("cuts_at_padding")
                if episode.num_rows:
                    yield episode
                episode, blanks = RecordedEpisode(), 0
        if at < len(frames):
            episode.append(pack(frames[at:]), action[at:], reward[at:])
            padding = blanks = 0
    if episode.num_rows:
        yield episode
