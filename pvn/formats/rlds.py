"""Reads RLDS Atari data (rlu_atari_checkpoints_ordered), as prepared by TFDS or as published.

Prepared: `rlu_atari_checkpoints_ordered/{Game}_run_{r}/{version}/`, with one or more shards for
each split `checkpoint_XX`, as TFRecord or ArrayRecord. Published (the upstream format):
`{Game}/run_{r}-{i:05d}-of-00050`, as gzipped TFRecord, with one file for each checkpoint.

In both, a record is an episode: PNGs, actions, clipped rewards, and whether the game ended. If the
game ended, the last row holds only the last frame; its action and reward have no meaning. This
follows the source code of TFDS and was not checked on real upstream files. `last_row="step"` reads
the last row as an ordinary step instead. If the game did not end, the episode was truncated, and
its last row has no next frame.
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

import numpy as np

from pvn.errors import UserError
from pvn.formats.array_record import read_array_records
from pvn.formats.checkpoints import choose_checkpoints
from pvn.formats.episode import TIME_LIMIT, RecordedEpisode
from pvn.formats.findings import Findings
from pvn.formats.inputs import CorruptError, InputFile, Inputs, Selection
from pvn.formats.packing import pack
from pvn.formats.rlds_record import Columns, decode_frames, parse_prepared, parse_raw
from pvn.formats.tfrecord import Record, read_records
from pvn.storage.files import naming

_NAME = "rlu_atari_checkpoints_ordered"
_SHARD = re.compile(rf"{_NAME}-checkpoint_(\d+)\.(tfrecord|array_record)-(\d+)-of-(\d+)")
_DECODED = 256  # frames that the thread pool decodes in one task
_AHEAD = 32_768  # largest number of frames that are decoded ahead


class Options(NamedTuple):
    """How to read the files."""

    raw: bool = False  # whether the files have the upstream format
    last_row: str = "frame"  # what the last row of a game that ended holds, `frame` or `step`
    skip_corrupt: bool = False  # whether to leave broken episodes out
    num_threads: int = 2  # threads that decode frames; decoding releases the GIL


class _Shards(NamedTuple):
    """The files of one run."""

    folder: Path
    files: dict[int, list[Path]]  # checkpoint -> its files that exist, in order
    missing: dict[int, list[str]]  # checkpoint -> a message for each file that is missing
    lengths: dict[str, int]  # file name -> number of episodes, where known


def find_files(selection: Selection, options: Options) -> Inputs:
    """The files to convert, in order.

    Args:
      selection: its `path` is the TFDS data_dir, which holds `rlu_atari_checkpoints_ordered`. For
        the upstream format, it is the folder that holds `{Game}/run_{r}-...`.
      options: how to read the files.

    Raises:
      UserError: a run has no files, or its dataset_info.json cannot be read.
    """
    found = Inputs([], [])
    for run in selection.runs:
        list_shards = _raw_files if options.raw else _prepared_files
        shards = list_shards(selection.path, selection.game, run)
        chosen, missing = choose_checkpoints(
            str(shards.folder), sorted(shards.files), selection.split, selection.checkpoints
        )
        found.missing.extend(missing)
        for number in chosen:
            found.missing.extend(shards.missing.get(number, ()))
            for file in shards.files[number]:
                length = shards.lengths.get(file.name)
                read = functools.partial(read_file, file, options=options, num_episodes=length)
                found.files.append(InputFile(f"run {run} {file.name}", file.stat().st_size, read))
    return found


def _prepared_files(path: Path, game: str, run: int) -> _Shards:
    base = path / _NAME / f"{game}_run_{run}"
    folders = (file.parent for file in base.glob("*/dataset_info.json"))
    versions = [folder for folder in folders if re.fullmatch(r"\d+(\.\d+)*", folder.name)]
    versions.sort(key=lambda folder: [int(n) for n in re.findall(r"\d+", folder.name)])
    if not versions:
        raise UserError(f"{base}: holds no version prepared by TFDS (no */dataset_info.json)")
    folder = versions[-1]
    listed, kind = _listed_splits(folder)
    names = {file.name for file in folder.iterdir()}
    shards = {number: (kind, max(len(lengths), 1)) for number, lengths in listed.items()}
    for match in filter(None, map(_SHARD.fullmatch, sorted(names))):
        shards[int(match[1])] = (match[2], int(match[4]))
    found = _Shards(folder, {}, {}, {})
    for number, (kind, count) in sorted(shards.items()):
        split = f"{_NAME}-checkpoint_{number:02d}.{kind}"
        expected = [f"{split}-{shard:05d}-of-{count:05d}" for shard in range(count)]
        found.files[number] = [folder / name for name in expected if name in names]
        found.missing[number] = [f"{folder / n}: is missing" for n in expected if n not in names]
        if len(lengths := listed.get(number, [])) == count:
            found.lengths.update(zip(expected, lengths, strict=True))
    return found


def _listed_splits(folder: Path) -> tuple[dict[int, list[int]], str]:
    """dataset_info.json: episodes in each shard of each checkpoint, and the file format."""
    file = folder / "dataset_info.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        splits = {
            int(match[1]): [int(length) for length in split["shardLengths"]]
            for split in info["splits"]
            if (match := re.fullmatch(r"checkpoint_(\d+)", split["name"]))
        }
        kind = info.get("fileFormat", "tfrecord")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: is not that of a TFDS dataset ({error!r})") from None
    if kind not in ("tfrecord", "array_record"):
        raise UserError(
            f"{file}: its fileFormat is {kind!r}, expected tfrecord or array_record; prepare the "
            "dataset with file_format=tfrecord"
        )
    return splits, kind


def _raw_files(path: Path, game: str, run: int) -> _Shards:
    folder = path / game
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, expected files run_{run}-00000-of-00050 there")
    pattern = re.compile(rf"run_{run}-(\d+)-of-(\d+)")
    matches = [m for f in folder.iterdir() if (m := pattern.fullmatch(f.name)) and f.is_file()]
    if not matches:
        raise UserError(f"{folder}: holds no files run_{run}-00000-of-00050")
    total = int(matches[0][2])  # every name says how many there are
    there = {int(m[1]): [folder / m[0]] for m in matches}
    names = {n: folder / f"run_{run}-{n:05d}-of-{total:05d}" for n in range(total)}
    missing = {n: [f"{file}: is missing"] for n, file in names.items() if n not in there}
    return _Shards(folder, {n: there.get(n, []) for n in names} | there, missing, {})


class _Reading(NamedTuple):
    """One file while it is read."""

    file: Path
    options: Options
    num_episodes: int | None  # in the file; None: not known
    findings: Findings

    def leave_out(self, number: int, problem: str, count: int = 1) -> None:
        """Leaves out `count` records, the first being `number`. Raises `CorruptError` without
        `skip_corrupt`.
        """
        text = f"{self.file}: record {number}: {problem}"
        if not self.options.skip_corrupt:
            raise CorruptError(text)
        self.findings.leave_out("skipped_episodes", text, count)


def read_file(
    file: Path, findings: Findings, *, options: Options, num_episodes: int | None
) -> Iterator[RecordedEpisode]:
    """Yields the episodes of one file, in order.

    Args:
      file: to read.
      findings: gets the counts and the messages.
      options: how to read the file.
      num_episodes: number of episodes in the file; None if it is not known.

    Raises:
      CorruptError: a record is broken, and `options.skip_corrupt` is False. The message names it.
    """
    reading = _Reading(file, options, num_episodes, findings)
    pool = ThreadPoolExecutor(options.num_threads)
    try:
        for number, columns, parts in _decode_ahead(_parse_records(reading), pool):
            try:
                packed = [part.result() for part in parts]
            except ValueError as error:
                reading.leave_out(number, str(error))
                continue
            yield from _episode(columns, packed, options.last_row, findings)
    finally:
        pool.shutdown(cancel_futures=True)


def _parse_records(reading: _Reading) -> Iterator[tuple[int, Columns]]:
    """Yields (number of the record, its columns) for each valid record."""
    parse = parse_raw if reading.options.raw else parse_prepared
    expected, count = reading.num_episodes, 0
    for number, payload, problem, is_last in _read_records(reading):
        count = number + 1
        columns = None
        if not problem:
            try:
                columns = parse(payload)
            except ValueError as error:
                problem = str(error)
        if columns is not None:
            yield number, columns
        else:
            # After an error in the framing, no later record can be found.
            lost = max(expected - number, 1) if is_last and expected else 1
            count = number + lost
            reading.leave_out(number, problem, lost)
    at_least = 1 if expected is None else expected
    if count < at_least:
        problem = f"is missing, expected {at_least} or more"
        reading.leave_out(count, problem, at_least - count)


def _read_records(reading: _Reading) -> Iterator[Record]:
    file, findings = reading.file, reading.findings
    if ".array_record-" in file.name:
        for record, findings.bytes_read in read_array_records(file):
            yield record
        return
    with naming(file), file.open("rb") as packed:
        stream = gzip.GzipFile(fileobj=packed) if reading.options.raw else packed
        for record in read_records(stream):
            findings.bytes_read = packed.tell()
            yield record


def _decode_ahead(
    records: Iterator[tuple[int, Columns]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, Columns, list[Future[bytes]]]]:
    """Adds the decoded frames of each record, in parts, and reads up to `_AHEAD` frames ahead."""
    waiting: deque[tuple[int, Columns, list[Future[bytes]]]] = deque()
    ahead = 0
    for number, columns in records:
        images = columns.images
        while waiting and ahead + len(images) > _AHEAD:
            ahead -= len(waiting[0][1].images)
            yield waiting.popleft()
        ahead += len(images)
        starts = range(0, len(images), _DECODED)
        parts = [pool.submit(_decode_and_pack, images[s : s + _DECODED]) for s in starts]
        waiting.append((number, columns, parts))
    while waiting:
        yield waiting.popleft()


def _decode_and_pack(images: list[bytes]) -> bytes:
    return pack(decode_frames(images))


def _episode(
    columns: Columns, packed: list[bytes], last_row: str, findings: Findings
) -> Iterator[RecordedEpisode]:
    episode = RecordedEpisode()
    for number, part in enumerate(packed):
        span = slice(number * _DECODED, (number + 1) * _DECODED)
        episode.append(part, columns.action[span], columns.reward[span])
    episode.terminal = columns.terminal
    if columns.terminal:
        findings.add("ended_games")
        last = columns.reward[-1]
        rewarded = bool(np.isfinite(last)) and last != 0
        # A game that the time limit ends has TIME_LIMIT steps and one more row for its last frame.
        # If it has TIME_LIMIT rows, its last row is probably a step.
        findings.add("step_like_last_rows", int(rewarded or len(columns.action) == TIME_LIMIT))
        if last_row == "frame":
            episode.drop_last(1)
    if episode.num_rows:
        yield episode
