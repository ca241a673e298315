r"""Converts public datasets to the format of pvn, and datasets of pvn to Dopamine's format.

    python -m pvn.convert --source=dopamine --path=DIR --game=Pong --runs=1 --checkpoints=0-49 \
        --dataset=data/pong
    python -m pvn.convert --to=dopamine --dataset=data/pong --path=DIR

Sources: `dopamine` (DIR holds {Game}/{run}/replay_logs), `rlds` (DIR is the TFDS data_dir, which
holds rlu_atari_checkpoints_ordered) and `rlds_raw` (DIR holds {Game}/run_{r}-...). Files are
streamed and need half a GiB of memory. After an interruption, the same command continues at the
first file that is not stored. The result is the same, byte for byte.
"""

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from absl import flags

from pvn.data.store import dataset_exists, open_dataset
from pvn.data.writer import DatasetWriter, check_same, delete_dataset
from pvn.envs.games import find_game
from pvn.envs.protocol import PROTOCOL
from pvn.errors import UserError
from pvn.formats import rlds
from pvn.formats.appender import Appender, append_file
from pvn.formats.checkpoints import SPLITS, WEAK_RUNS
from pvn.formats.dopamine import find_windows
from pvn.formats.dopamine_writer import plan_windows, write_window
from pvn.formats.findings import Findings
from pvn.formats.inputs import CorruptError, InputFile, Inputs, Selection
from pvn.machine import usable_cores
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.types import ATARI

_SOURCE = flags.DEFINE_enum("source", None, ["dopamine", "rlds", "rlds_raw"], "Format to read.")
_TO = flags.DEFINE_enum("to", None, ["dopamine"], "Format to write --dataset in, to --path.")
_PATH = cfg.define_path("path", None, "Folder of the public data.", required=True)
_DATASET = cfg.define_path(
    "dataset", None, "Dataset directory of pvn (or gs://...).", required=True, local=False
)
_GAME = flags.DEFINE_string("game", None, "Game, as in the names of the folders: MsPacman.")
_RUNS = flags.DEFINE_string("runs", "1", "Runs of the public data: 1, or 1,3, or 1-5.")
_CHECKPOINTS = flags.DEFINE_string("checkpoints", None, "0-49, or 0,24,49. Default: all.")
_SPLIT = flags.DEFINE_enum(
    "split",
    None,
    list(SPLITS),
    "Published choice of checkpoints. weak: the first of runs 1-5.",
)
_SKIP_CORRUPT = flags.DEFINE_bool("skip_corrupt", False, "Leave out and count broken data.")
_SKIP_MISSING = flags.DEFINE_bool("skip_missing", False, "Leave out and count missing files.")
_LAST_ROW = flags.DEFINE_enum(
    "rlds_last_row",
    "frame",
    ["frame", "step"],
    "What the last row of an ended RLDS game holds.",
)
_NUM_ACTIONS = flags.DEFINE_integer(
    "num_actions", 0, "Number of actions. 0: the minimal action set of the game.", lower_bound=0
)
_THREADS = flags.DEFINE_integer(
    "num_threads", 0, "Threads that decode RLDS frames. 0: one for each core, at least 2.", 0
)
_CAPACITY = flags.DEFINE_integer(
    "capacity", 1_000_000, "Rows of a Dopamine window; use the same number in Dopamine.", 100
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the data at the target first.")


def parse_numbers(flag: str, text: str, low: int) -> list[int]:
    """Parses a list of numbers and ranges: "0-2,7" is [0, 1, 2, 7].

    Args:
      flag: name of the flag, for messages.
      text: its value.
      low: smallest valid number.

    Raises:
      UserError: the text has another form, or contains a number below `low`.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or first < low:
            raise UserError(f"--{flag}={text}: expected numbers from {low} on, like {low}-3,7")
        numbers += range(first, last + 1)
    return sorted(set(numbers))


def convert(
    files: Sequence[InputFile],
    writer: DatasetWriter,
    num_actions: int,
    findings: Findings,
    *,
    skip_corrupt: bool,
) -> int:
    """Appends the files that are not stored yet. Returns the exit status.

    The rows of a file become part of the dataset when the whole file is converted.

    Args:
      files: all input files in order, including those that are stored.
      writer: of the dataset.
      num_actions: number of actions of the game.
      findings: gets the counts and the messages.
      skip_corrupt: whether to leave out files with broken data.

    Raises:
      UserError: data are broken and not left out, or the game does not have an action of the data.
    """
    start = writer.attributes["complete"]["units"]
    appender = Appender(writer)
    sizes = [file.num_bytes for file in files]
    began, rows_before = time.perf_counter(), writer.num_rows
    with (
        console.orderly_stop() as stop,
        console.progress(sum(sizes), "B", "convert", sum(sizes[:start])) as bar,
    ):
        bar.unit_scale = True
        for number, file in enumerate(files[start:], start):
            counts, findings.bytes_read = dict(findings.counts), 0
            try:
                with closing(append_file(file, appender, num_actions, findings)) as blocks:
                    for _ in blocks:
                        if stop:
                            break
                        speed = (writer.num_written - rows_before) / (time.perf_counter() - began)
                        rate = f"{writer.num_written:,} rows, {speed:,.0f} frames/s"
                        bar.set_postfix_str(rate, False)
                        bar.n = sum(sizes[:number]) + min(findings.bytes_read, file.num_bytes)
                        bar.update(0)
            except CorruptError as error:
                appender.discard()
                if not skip_corrupt:
                    raise UserError(f"{error}; --skip_corrupt leaves it out") from None
                findings.counts = counts
                findings.leave_out("skipped_files", str(error))
            except UserError:
                appender.discard()
                raise
            if stop:
                appender.discard()
                return stop.status
            appender.flush()
            writer.publish(complete={"units": number + 1, "counts": dict(findings.counts)})
            _say_left_out(findings)
    return 0


def _say_left_out(findings: Findings) -> None:
    while findings.left_out:
        console.say(f"left out: {findings.left_out.pop(0)}")


def find_inputs(game: str) -> Inputs:
    """The input files that the flags describe.

    Raises:
      UserError: a flag is invalid, or a run has no files.
    """
    split = _SPLIT.value
    if split and _CHECKPOINTS.value:
        raise UserError("--split and --checkpoints: expected one of them")
    runs = parse_numbers("runs", _RUNS.value, 1)
    if split == "weak" and not flags.FLAGS["runs"].present:
        runs = list(WEAK_RUNS)
    checkpoints = parse_numbers("checkpoints", _CHECKPOINTS.value, 0) if _CHECKPOINTS.value else []
    selection = Selection(Path(_PATH.value), game, runs, split, checkpoints)
    if _SOURCE.value == "dopamine":
        return find_windows(selection, skip_corrupt=_SKIP_CORRUPT.value)
    options = rlds.Options(
        raw=_SOURCE.value == "rlds_raw",
        last_row=_LAST_ROW.value,
        skip_corrupt=_SKIP_CORRUPT.value,
        num_threads=_THREADS.value or max(2, len(usable_cores())),
    )
    return rlds.find_files(selection, options)


def _check_missing(missing: Sequence[str], findings: Findings) -> None:
    """Counts the missing files with --skip_missing; without the flag, raises `UserError`."""
    if missing and not _SKIP_MISSING.value:
        more = f" (and {len(missing) - 1} more like this)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}{more}; --skip_missing continues without them")
    findings.left_out += missing
    if missing:
        findings.counts["missing_files"] = len(missing)  # in the whole conversion
    else:
        findings.counts.pop("missing_files", None)


def _check_extends(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises `UserError` unless the dataset was made in this way from the first of these files."""
    source, files = new["source"], old.get("source", {}).get("files", [])
    check_same(path, old, {**new, "source": {**source, "files": files}})
    if files != source["files"][: len(files)]:
        differ = [pair for pair in zip(files, source["files"], strict=False) if len(set(pair)) > 1]
        what = f"of {differ[0][0]}, now {differ[0][1]}" if differ else "of more files"
        raise UserError(
            f"dataset {path}: was made {what}; name another --dataset or pass --overwrite"
        )


def import_dataset() -> int:
    """--source: converts a public dataset to --dataset. Returns the exit status."""
    if not _GAME.value:
        raise UserError("--game: is missing, expected a game as its folders spell it: MsPacman")
    game, path = find_game(_GAME.value), _DATASET.value
    if game.is_minatar:
        raise UserError(f"--game={game.name}: expected a game of the Atari 2600")
    inputs = find_inputs(game.name)
    _check_missing(inputs.missing, Findings())
    if not inputs.files:
        raise UserError(f"{_PATH.value}: all files are missing")
    files = [f"{file.name}, {file.num_bytes} bytes" for file in inputs.files]
    source = {"kind": "pvn.convert", "format": _SOURCE.value, "files": files}
    if _SOURCE.value != "dopamine":
        source["last_row"] = _LAST_ROW.value
    made: dict[str, Any] = {
        "game": game.name,
        "num_actions": _NUM_ACTIONS.value or game.num_actions,
        "protocol": PROTOCOL,
        "rewards": "as published: clipped to [-1, 1]",
        "source": source,
    }
    if _OVERWRITE.value and dataset_exists(path):
        delete_dataset(path)
    writer = DatasetWriter(
        path,
        {**made, "complete": {"units": 0, "counts": {}}},
        lambda old: _check_extends(path, old, made),
    )
    writer.attributes["source"] = source
    findings = Findings(writer.attributes["complete"]["counts"])
    _check_missing(inputs.missing, findings)
    _say_left_out(findings)
    status = convert(
        inputs.files, writer, made["num_actions"], findings, skip_corrupt=_SKIP_CORRUPT.value
    )
    if not status and not writer.num_rows:
        raise UserError(f"{_PATH.value}: no episodes were found")
    _say_result(writer, findings, stopped=status != 0)
    return status


def _say_result(writer: DatasetWriter, findings: Findings, *, stopped: bool) -> None:
    counts = findings.counts
    found = "".join(f"; {name} {count:,}" for name, count in sorted(counts.items()))
    console.say(
        f"{_DATASET.value}: {writer.num_rows:,} rows in {writer.attributes['num_episodes']:,} "
        f"episodes of {writer.attributes['game']}{found}"
        + ("; stopped early, the same command completes it" if stopped else "")
    )
    doubtful = counts.get("step_like_last_rows", 0)
    if doubtful and _LAST_ROW.value == "frame":
        console.say(
            f"warning: in {doubtful:,} of {counts['ended_games']:,} games that ended, the last row "
            "has a reward, or is the last one that the time limit allows, like an ordinary step; "
            "was it one? See --rlds_last_row=step"
        )


def export_dataset() -> int:
    """--to=dopamine: writes --dataset as the logs of run --runs to --path. Returns 0."""
    for flag in (_GAME, _CHECKPOINTS, _SPLIT):
        if flag.value is not None:
            raise UserError(f"--{flag.name}: goes with --source, not with --to")
    dataset = open_dataset(_DATASET.value)
    if dataset.rows.observation != ATARI:
        raise UserError(
            f"dataset {_DATASET.value}: is of {dataset.attributes['game']}, expected a game of the "
            "Atari 2600, as the format holds no others"
        )
    runs = parse_numbers("runs", _RUNS.value, 1)
    if len(runs) > 1:
        raise UserError(f"--runs={_RUNS.value}: expected one run to write")
    folder = Path(_PATH.value) / dataset.attributes["game"] / str(runs[0]) / "replay_logs"
    if folder.exists() and not _OVERWRITE.value:
        raise UserError(f"{folder}: is there already; choose another --runs or pass --overwrite")
    partial = folder.with_name("replay_logs.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    windows = plan_windows(dataset.rows, _CAPACITY.value)
    with console.progress(len(windows), "windows", "convert") as bar:
        for number, window in enumerate(windows):
            write_window(partial, number, window, dataset.rows, _CAPACITY.value)
            bar.update()
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    console.say(f"{folder}: {len(windows)} windows of {_CAPACITY.value:,} rows")
    return 0


def main() -> int:
    if (_SOURCE.value is None) == (_TO.value is None):
        raise UserError("--source, --to: expected one of them")
    return import_dataset() if _SOURCE.value else export_dataset()


if __name__ == "__main__":
    console.run(main)
