"""RLDS Atari data (rlu_atari_checkpoints_ordered), prepared by TFDS or in the raw upstream form.

Prepared: `rlu_atari_checkpoints_ordered/{Game}_run_{r}/{version}/` with a TFRecord shard or more
of each split `checkpoint_XX`. Raw: `{Game}/run_{r}-{i:05d}-of-00050`, gzipped, one file a
checkpoint. Either way an episode is a record: PNGs, actions, clipped rewards, and whether the game
ended. If it did, only the frame of the last row counts (so the TFDS source says; real upstream
files could not be looked at, and `last_row="step"` reads that row as an ordinary step). If not, the
episode was cut, and its last row has no next frame.
"""

import functools
import gzip
import json
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np

from pvn.data.episodes import (
    MOST_ROWS,
    TIME_LIMIT,
    TOO_LONG,
    CorruptError,
    Episode,
    Tally,
    Unit,
    choose_checkpoints,
    pack,
)
from pvn.data.store import FRAME_SHAPE
from pvn.data.tfrecord import parse_example, read_records
from pvn.errors import UserError
from pvn.files import naming

_NAME = "rlu_atari_checkpoints_ordered"
_DECODED = 256  # frames a task of the pool decodes
_AHEAD = 32_768  # frames that are being decoded or wait for their turn, at most


class Columns(NamedTuple):
    """An episode before its frames are decoded."""

    images: list[bytes]  # PNG, n of them
    action: np.ndarray  # int32 [n]
    reward: np.ndarray  # float32 [n]
    terminal: bool  # the game ended


def parse_prepared(payload: bytes) -> Columns:
    """An episode as TFDS stores it. Raises `ValueError` with what is wrong."""
    features = parse_example(payload)
    return _checked(
        _images(features, "steps/observation"),
        _array(features, "steps/action"),
        _array(features, "steps/reward"),
        _array(features, "steps/is_terminal") != 0,
    )


def parse_raw(payload: bytes) -> Columns:
    """An episode of the upstream files. Raises `ValueError` with what is wrong.

    The rewards are `unclipped_rewards`, as TFDS takes them; upstream they are clipped all the same.
    """
    features = parse_example(payload)
    return _checked(
        _images(features, "observations"),
        _array(features, "actions"),
        _array(features, "unclipped_rewards"),
        _array(features, "discounts") == 0,
    )


def _array(features: dict[str, np.ndarray | list[bytes]], name: str) -> np.ndarray:
    if not isinstance(value := features.get(name), np.ndarray):
        raise ValueError(f"has no numbers {name!r} (another dataset?)")
    return value


def _images(features: dict[str, np.ndarray | list[bytes]], name: str) -> list[bytes]:
    if not isinstance(value := features.get(name), list):
        raise ValueError(f"has no images {name!r} (another dataset?)")
    return value


def _checked(
    images: list[bytes], action: np.ndarray, reward: np.ndarray, ended: np.ndarray
) -> Columns:
    counts = [len(images), len(action), len(reward), len(ended)]
    if len(set(counts)) > 1 or not images:
        raise ValueError("has {} frames, {} actions, {} rewards and {} ends".format(*counts))
    if action.dtype.kind != "i" or reward.dtype.kind != "f":
        raise ValueError(f"has {action.dtype} actions and {reward.dtype} rewards")
    if action.min() < 0 or action.max() >= 2**31:
        raise ValueError(f"has the action {action.min() if action.min() < 0 else action.max()}")
    if len(images) > MOST_ROWS:
        raise ValueError(TOO_LONG)
    if ended[:-1].any():
        raise ValueError("goes on after the game has ended")
    return Columns(images, action.astype(np.int32), reward, bool(ended[-1]))


def decode_frames(images: list[bytes]) -> np.ndarray:
    """uint8 [n, 84, 84] of n PNGs. Raises `ValueError` for what is none of that size."""
    frames = np.empty((len(images), *FRAME_SHAPE), np.uint8)
    for frame, image in zip(frames, images, strict=True):
        try:
            decoded = imagecodecs.png_decode(image)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"a frame is no PNG ({error})") from None
        if (
            decoded.size != frame.size
            or decoded.shape[:2] != FRAME_SHAPE
            or decoded.dtype != np.uint8
        ):
            raise ValueError(
                f"a frame is {decoded.dtype} {list(decoded.shape)}, expected uint8 [84, 84]"
            )
        frame[:] = decoded.reshape(FRAME_SHAPE)
    return frames


def rlds_units(
    path: Path,
    game: str,
    runs: list[int],
    split: str | None,
    checkpoints: list[int],
    skip_corrupt: bool,
    *,
    raw: bool,
    last_row: str,
) -> list[Unit]:
    """The files to convert, in order.

    Args:
      path: the TFDS data_dir that holds `rlu_atari_checkpoints_ordered`; for `raw`, the folder that
        holds `{Game}/run_{r}-...`.
      split, checkpoints: see `choose_checkpoints`.
      skip_corrupt: leave broken episodes out.
      last_row: what the last row of an ended game is, `frame` or `step`.

    Raises:
      UserError: what is missing.
    """
    units = []
    for run in runs:
        folder, files = _raw_files(path, game, run) if raw else _prepared_files(path, game, run)
        lengths = {} if raw else _shard_lengths(folder)
        for number in choose_checkpoints(str(folder), sorted(files), split, checkpoints):
            for file in files[number]:
                read = functools.partial(
                    read_file,
                    file,
                    raw=raw,
                    last_row=last_row,
                    skip_corrupt=skip_corrupt,
                    expected=lengths.get(file.name),
                )
                units.append(Unit(f"run {run} {file.name}", file.stat().st_size, read))
    return units


def _prepared_files(path: Path, game: str, run: int) -> tuple[Path, dict[int, list[Path]]]:
    base = path / _NAME / f"{game}_run_{run}"
    folders = (file.parent for file in base.glob("*/dataset_info.json"))
    versions = [folder for folder in folders if re.fullmatch(r"\d+(\.\d+)*", folder.name)]
    versions.sort(key=lambda folder: [int(n) for n in re.findall(r"\d+", folder.name)])
    if not versions:
        raise UserError(f"{base}: holds no version prepared by TFDS (no */dataset_info.json)")
    pattern = re.compile(rf"{_NAME}-checkpoint_(\d+)\.tfrecord-(\d+)-of-(\d+)")
    files: dict[int, list[Path]] = {}
    shards: dict[int, int] = {}
    for file in sorted(versions[-1].iterdir()):
        if match := pattern.fullmatch(file.name):
            files.setdefault(int(match[1]), []).append(file)
            shards[int(match[1])] = int(match[3])
    for number, found in files.items():
        if len(found) != shards[number]:
            raise UserError(
                f"{versions[-1]}: checkpoint_{number:02d} has {len(found)} of its "
                f"{shards[number]} shards"
            )
    return versions[-1], files


def _shard_lengths(folder: Path) -> dict[str, int]:
    """How many episodes each shard has, by its name, as far as dataset_info.json says."""
    lengths = {}
    try:
        info = (folder / "dataset_info.json").read_text(encoding="utf-8")
        for split in json.loads(info)["splits"]:
            shards = [int(length) for length in split["shardLengths"]]
            for number, length in enumerate(shards):
                name = f"{_NAME}-{split['name']}.tfrecord-{number:05d}-of-{len(shards):05d}"
                lengths[name] = length
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / 'dataset_info.json'}: is not that of a TFDS dataset ({error!r})"
        ) from None
    return lengths


def _raw_files(path: Path, game: str, run: int) -> tuple[Path, dict[int, list[Path]]]:
    folder = path / game
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, expected files run_{run}-00000-of-00050 there")
    pattern = re.compile(rf"run_{run}-(\d+)-of-\d+")
    found = {
        int(m[1]): [f] for f in folder.iterdir() if (m := pattern.fullmatch(f.name)) and f.is_file()
    }
    if not found:
        raise UserError(f"{folder}: holds no files run_{run}-00000-of-00050")
    return folder, found


def read_file(
    file: Path,
    tally: Tally,
    *,
    raw: bool,
    last_row: str,
    skip_corrupt: bool,
    expected: int | None,
    num_threads: int = 2,
) -> Iterator[Episode]:
    """The episodes of one file, in order; see `rlds_units`.

    Args:
      expected: how many there are, if that is known.
      num_threads: decode the frames; what takes long there lets go of the interpreter.

    Raises:
      CorruptError: a broken record, which it names, unless those are to be left out.
    """

    def leave_out(number: int, problem: str, count: int = 1) -> None:
        text = f"{file}: record {number}: {problem}"
        if not skip_corrupt:
            raise CorruptError(text)
        tally.leave_out("skipped_episodes", text, count)

    def parsed() -> Iterator[tuple[int, Columns]]:
        count = 0
        with naming(file), file.open("rb") as packed:
            stream = gzip.GzipFile(fileobj=packed) if raw else packed
            for number, payload, problem, is_last in read_records(stream):
                count, tally.position = number + 1, packed.tell()
                columns = None
                if not problem:
                    try:
                        columns = (parse_raw if raw else parse_prepared)(payload)
                    except ValueError as error:
                        problem = str(error)
                if columns is not None:
                    yield number, columns
                else:
                    # Past a break in the framing, no record can be found.
                    lost = max(expected - number, 1) if is_last and expected else 1
                    count = number + lost
                    leave_out(number, problem, lost)
        told = 1 if expected is None else expected
        if count < told:
            leave_out(count, f"is missing, expected {told} or more", told - count)

    waiting: deque[tuple[int, Columns, list[Future[bytes]]]] = deque()
    ahead = 0

    def first_waiting() -> Iterator[Episode]:
        number, columns, parts = waiting.popleft()
        try:
            packed = [part.result() for part in parts]
        except ValueError as error:
            leave_out(number, str(error))
            return
        yield from _episode(columns, packed, last_row, tally)

    pool = ThreadPoolExecutor(num_threads)
    try:
        for number, columns in parsed():
            while waiting and ahead + len(columns.images) > _AHEAD:
                ahead -= len(waiting[0][1].images)
                yield from first_waiting()
            ahead += len(columns.images)
            images = columns.images
            starts = range(0, len(images), _DECODED)
            parts = [pool.submit(_decode_and_pack, images[s : s + _DECODED]) for s in starts]
            waiting.append((number, columns, parts))
        while waiting:
            yield from first_waiting()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_and_pack(images: list[bytes]) -> bytes:
    return pack(decode_frames(images))


def _episode(
    columns: Columns, packed: list[bytes], last_row: str, tally: Tally
) -> Iterator[Episode]:
    episode = Episode()
    for number, part in enumerate(packed):
        span = slice(number * _DECODED, (number + 1) * _DECODED)
        episode.append(part, columns.action[span], columns.reward[span])
    episode.terminal = columns.terminal
    if columns.terminal:
        tally.add("ended_games")
        last = columns.reward[-1]
        rewarded = bool(np.isfinite(last)) and last != 0
        # The time limit ends a game after so many steps, and one more frame.
        tally.add("step_like_last_rows", int(rewarded or len(columns.action) == TIME_LIMIT))
        if last_row == "frame":
            episode.drop_last(1)
    if episode.num_rows:
        yield episode
