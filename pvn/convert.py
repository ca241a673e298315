"""Brings public datasets into our format, and ours into Dopamine's.

    python -m pvn.convert --source=dopamine --path=DIR --game=Pong --runs=1 --checkpoints=0-49 \
        --dataset=data/pong
    python -m pvn.convert --to=dopamine --dataset=data/pong --path=DIR

Sources: `dopamine` (DIR holds {Game}/{run}/replay_logs), `rlds` (the TFDS data_dir, which holds
rlu_atari_checkpoints_ordered) and `rlds_raw` (DIR holds {Game}/run_{r}-...). What is converted is
streamed, by several processes if there are cores, in a GiB of memory. An interrupted
conversion goes on at the first file that is not stored, and ends in the same bytes.
"""

import functools
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.data.appender import Appender
from pvn.data.dopamine import dopamine_units
from pvn.data.dopamine_writer import plan_windows, write_window
from pvn.data.episodes import SPLITS, WEAK_RUNS, CorruptError, Tally, Unit
from pvn.data.readers import Readers
from pvn.data.rlds import rlds_units
from pvn.data.store import dataset_exists, open_dataset
from pvn.data.writer import DatasetWriter, check_same, delete_dataset
from pvn.envs.atari import PROTOCOL, AtariEnvs
from pvn.errors import UserError

_SOURCE = flags.DEFINE_enum("source", None, ["dopamine", "rlds", "rlds_raw"], "What to read.")
_TO = flags.DEFINE_enum("to", None, ["dopamine"], "Write --dataset in this format to --path.")
_PATH = cfg.define_path("path", None, "Folder of the public format.", required=True)
_DATASET = cfg.define_path(
    "dataset", None, "Our dataset (or gs://...).", required=True, local=False
)
_GAME = flags.DEFINE_string("game", None, "Game, as its folders spell it: MsPacman.")
_RUNS = flags.DEFINE_string("runs", "1", "Runs of the public data: 1, or 1,3, or 1-5.")
_CHECKPOINTS = flags.DEFINE_string("checkpoints", None, "0-49, or 0,24,49. Default: all there are.")
_SPLIT = flags.DEFINE_enum(
    "split", None, list(SPLITS), "Published choice of checkpoints; weak is the first of runs 1-5."
)
_SKIP = flags.DEFINE_bool("skip_corrupt", False, "Leave whole bad episodes out, and count them.")
_LAST_ROW = flags.DEFINE_enum(
    "rlds_last_row", "frame", ["frame", "step"], "What the last row of an ended RLDS game is."
)
_NUM_ACTIONS = flags.DEFINE_integer(
    "num_actions", 0, "Actions of the game. 0: its minimal set.", lower_bound=0
)
_PROCESSES = flags.DEFINE_integer(
    "num_processes", 0, "Read so many files at once. 0: one for each two cores, at most 4.", 0
)
_THREADS = flags.DEFINE_integer(
    "num_threads", 0, "Decoders of RLDS frames in a process. 0: the cores are shared out.", 0
)
_CAPACITY = flags.DEFINE_integer(
    "capacity", 1_000_000, "Rows of a window of Dopamine logs; its reader is told the same.", 100
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete a dataset that is already there.")


def parse_numbers(flag: str, text: str, low: int) -> list[int]:
    """[0, 1, 2, 7] of "0-2,7".

    Raises:
      UserError: something else, or a number below `low`.
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
    units: Sequence[Unit],
    writer: DatasetWriter,
    num_actions: int,
    *,
    skip_corrupt: bool,
    num_processes: int,
    folder: str | None,
) -> tuple[Tally, int]:
    """Appends the units that are not stored yet. Returns (what was found, exit status).

    Rows count once their unit is whole. num_processes, folder: see `Readers`.

    Raises:
      UserError: broken data, if it is not to be left out; an action that the game does not have.
    """
    start = writer.attributes["complete"]["units"]
    appender = Appender(writer)
    tally = Tally(writer.attributes["complete"]["counts"])
    sizes = [unit.num_bytes for unit in units]
    began, rows_before = time.perf_counter(), writer.num_rows
    with (
        console.orderly_stop() as stop,
        console.progress(sum(sizes), "B", "convert", sum(sizes[:start])) as bar,
        Readers(units[start:], num_processes, folder) as readers,
    ):
        bar.unit_scale = True

        def append_unit(number: int) -> None:
            first_episode = writer.attributes["num_episodes"]
            with closing(readers.blocks(number - start, tally)) as blocks:
                for block in blocks:
                    if stop:
                        return
                    if (found := int(block.action.max())) >= num_actions:
                        raise UserError(
                            f"{units[number].name}: holds action {found}, expected 0 to "
                            f"{num_actions - 1}; another game, or choose --num_actions"
                        )
                    appender.append(block, first_episode)
                    done = writer.num_written
                    speed = (done - rows_before) / (time.perf_counter() - began)
                    bar.set_postfix_str(f"{done:,} rows, {speed:,.0f} frames/s", False)
                    bar.n = sum(sizes[:number]) + min(tally.position, sizes[number])
                    bar.update(0)

        for number in range(start, len(units)):
            counts, tally.position = dict(tally.counts), 0
            try:
                append_unit(number)
            except CorruptError as error:
                appender.discard()
                if not skip_corrupt:
                    raise UserError(f"{error}; --skip_corrupt leaves it out") from None
                tally.counts = counts
                tally.leave_out("skipped_files", str(error))
            except UserError:
                appender.discard()
                raise
            if stop:
                appender.discard()
                return tally, stop.status
            appender.flush()
            writer.publish(complete={"units": number + 1, "counts": dict(tally.counts)})
            while tally.problems:
                console.say(f"left out: {tally.problems.pop(0)}")
    return tally, 0


def _units(game: str) -> list[Unit]:
    split = _SPLIT.value
    if split and _CHECKPOINTS.value:
        raise UserError("--split and --checkpoints: expected one of them")
    runs = parse_numbers("runs", _RUNS.value, 1)
    if split == "weak" and not flags.FLAGS["runs"].present:
        runs = list(WEAK_RUNS)
    checkpoints = parse_numbers("checkpoints", _CHECKPOINTS.value, 0) if _CHECKPOINTS.value else []
    chosen = (Path(_PATH.value), game, runs, split, checkpoints, _SKIP.value)
    if _SOURCE.value == "dopamine":
        return dopamine_units(*chosen)
    raw = _SOURCE.value == "rlds_raw"
    return rlds_units(*chosen, raw=raw, last_row=_LAST_ROW.value)


def _shares(num_units: int) -> tuple[int, int]:
    """How many processes read so many units, and how many threads in each decode frames."""
    affinity = getattr(os, "sched_getaffinity", None)  # fewer than the machine has, in a job
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    # Four: within a GiB of memory.
    num_processes = max(1, min(_PROCESSES.value or min(cores // 2, 4), num_units))
    return num_processes, _THREADS.value or max(2, cores // num_processes)


def _check_extends(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises `UserError` unless a dataset was made so, of these files or the first of them."""
    source, files = new["source"], old.get("source", {}).get("files", [])
    check_same(path, old, {**new, "source": {**source, "files": files}})
    if files != source["files"][: len(files)]:
        differ = [pair for pair in zip(files, source["files"], strict=False) if len(set(pair)) > 1]
        what = f"of {differ[0][0]}, now {differ[0][1]}" if differ else "of more files"
        raise UserError(
            f"dataset {path}: was made {what}; name another --dataset or pass --overwrite"
        )


def import_dataset() -> int:
    """--source: from a public format to --dataset."""
    if not _GAME.value:
        raise UserError("--game: is missing, expected a game as its folders spell it: MsPacman")
    game, path = _GAME.value, _DATASET.value
    num_actions = _NUM_ACTIONS.value or AtariEnvs(game, 1).num_actions
    units = _units(game)
    files = [f"{unit.name}, {unit.num_bytes} bytes" for unit in units]
    source = {"kind": "pvn.convert", "format": _SOURCE.value, "files": files}
    if _SOURCE.value != "dopamine":
        source["last_row"] = _LAST_ROW.value
    made: dict[str, Any] = {
        "game": game,
        "num_actions": num_actions,
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
    num_processes, num_threads = _shares(len(units) - writer.attributes["complete"]["units"])
    if _SOURCE.value != "dopamine":  # one thread reads a gzip stream
        units = [
            unit._replace(read=functools.partial(unit.read, num_threads=num_threads))
            for unit in units
        ]
    tally, status = convert(
        units,
        writer,
        num_actions,
        skip_corrupt=_SKIP.value,
        num_processes=num_processes,
        folder=None if path.startswith("gs://") else path,
    )
    if not status and not writer.num_rows:
        raise UserError(f"{_PATH.value}: no episodes were found")
    found = "".join(f"; {name} {count:,}" for name, count in sorted(tally.counts.items()))
    console.say(
        f"{path}: {writer.num_rows:,} rows in {writer.attributes['num_episodes']:,} episodes of "
        f"{game}{found}" + ("; stopped early, the same command completes it" if status else "")
    )
    doubtful = tally.counts.get("step_like_last_rows", 0)
    if doubtful and _LAST_ROW.value == "frame":
        console.say(
            f"warning: in {doubtful:,} of {tally.counts['ended_games']:,} games that ended, the "
            "last row brings a reward, or is the last that the time limit allows, as an ordinary "
            "step would; was it one? See --rlds_last_row=step"
        )
    return status


def export_dataset() -> int:
    """--to=dopamine: from --dataset to the logs of run --runs under --path."""
    dataset = open_dataset(_DATASET.value)
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
