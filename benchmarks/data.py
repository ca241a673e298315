"""How fast public data are converted and transitions are sampled, and what limits the speed.

    python -m benchmarks.data [--num_frames=100000] [--rounds=6]

Prints one JSON line for each case. The data are random play of a game. Conversion is in frames/s,
from Dopamine logs, RLDS and upstream RLDS files, all made here from the same frames. Its limits
(`floor_...`) are decompressing one stream, decoding PNGs on all cores and compressing with zstd.
Sampling is in transitions/s with batch 256: from all data in memory, from a rotating quarter, and
from device memory, where the host or the device draws. Its limits are copying the same bytes, and
decoding zstd in frames/s, because a rotating buffer decodes one frame for each transition that is
drawn.
"""

import functools
import gzip
import io
import itertools
import json
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from absl import flags
from PIL import Image
from zlib_ng import gzip_ng

from benchmarks.measure import Call, measure, print_row, run_command
from pvn.data.buffer import Buffer
from pvn.data.joined import transitions_of
from pvn.data.layout import SHARD_ROWS, Rows
from pvn.data.sampler import Sampler
from pvn.data.schedule import make_schedule
from pvn.data.store import Dataset, open_dataset
from pvn.data.writer import DatasetWriter
from pvn.formats.dopamine import log_file
from pvn.formats.dopamine_writer import plan_windows, write_window
from pvn.formats.rlds_record import decode_frames
from pvn.formats.tfrecord import Example, masked_crc
from pvn.learning.feed import Feed, draw, take, to_transition
from pvn.learning.parallel import make_parallel
from pvn.machine import usable_cores
from pvn.runs import console
from pvn.types import ATARI

_GAME = flags.DEFINE_string("game", "Breakout", "Game.")
_NUM_FRAMES = flags.DEFINE_integer("num_frames", 100_000, "Frames to play.", lower_bound=1000)
_ROUNDS = flags.DEFINE_integer("rounds", 6, "Turns of each case.", lower_bound=1)

BATCH, BATCHES_A_CALL = 256, 10
FILES = 4  # windows or checkpoints


# Public data made from a dataset.


def write_logs(dataset: Dataset, path: Path) -> None:
    """Writes Dopamine logs of `FILES` windows or so, compressed at gzip's level of Dopamine."""
    folder = path / dataset.attributes["game"] / "1" / "replay_logs"
    folder.mkdir(parents=True)
    capacity = len(dataset.rows.action) // FILES + 1000
    for number, window in enumerate(plan_windows(dataset.rows, capacity)):
        write_window(folder, number, window, dataset.rows, capacity)
        file = log_file(folder, "observation", number)
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), 9))


def records(rows: Rows, episodes: np.ndarray, raw: bool) -> Iterator[bytes]:
    """Yields the episodes with these numbers as TFRecords.

    raw: in the upstream form; otherwise as TFDS prepares them.
    """
    names = (
        ("observations", "actions", "unclipped_rewards", "discounts")
        if raw
        else ("steps/observation", "steps/action", "steps/reward", "steps/is_terminal")
    )
    for number in episodes:
        at = np.flatnonzero(rows.episode == number)
        example = Example()
        columns: dict[str, list] = {name: [] for name in names}
        for frame in rows.frame[at[0] : at[-1] + 1]:
            stream = io.BytesIO()
            Image.fromarray(frame).save(stream, "png")
            columns[names[0]].append(stream.getvalue())
        columns[names[1]] = rows.action[at].tolist()
        columns[names[2]] = rows.reward[at].tolist()
        columns[names[3]] = [1.0] * len(at) if raw else [0] * len(at)
        for name, values in columns.items():
            entry = example.features.feature.add(key=name)
            kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(values[0])]
            getattr(entry.value, kind).value.extend(values)
        payload = example.SerializeToString()
        length = struct.pack("<Q", len(payload))
        crcs = (struct.pack("<I", masked_crc(part)) for part in (length, payload))
        yield length + next(crcs) + payload + next(crcs)


def write_rlds(dataset: Dataset, path: Path, raw: bool) -> None:
    """Writes RLDS files of `FILES` checkpoints. raw: in the upstream form."""
    game, name = dataset.attributes["game"], "rlu_atari_checkpoints_ordered"
    folder = path / game if raw else path / name / f"{game}_run_1" / "1.1.0"
    folder.mkdir(parents=True)
    splits = []
    for number, episodes in enumerate(np.array_split(np.unique(dataset.rows.episode), FILES)):
        content = b"".join(records(dataset.rows, episodes, raw))
        if raw:
            file = folder / f"run_1-{number:05d}-of-{FILES:05d}"
            file.write_bytes(gzip.compress(content, 6))
        else:
            split = f"checkpoint_{number:02d}"
            (folder / f"{name}-{split}.tfrecord-00000-of-00001").write_bytes(content)
            splits.append({"name": split, "shardLengths": [str(len(episodes))]})
    if not raw:
        (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))


# Conversion.


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def command_seconds(*arguments: str) -> float:
    """Runs a command of pvn. Returns the seconds that it takes."""
    return timed(lambda: run_command(*arguments))


def conversions(dataset: Dataset, folder: Path, pool: ThreadPoolExecutor) -> None:
    """Prints a row for each source.

    Args:
      dataset: what the public data are made from.
      folder: where they are written.
      pool: one thread for each core.
    """
    rows, game = dataset.rows, dataset.attributes["game"]
    frames = rows.frame[:]
    count = len(frames)
    write_logs(dataset, folder / "dopamine")
    for raw in (False, True):
        write_rlds(dataset, folder / ("rlds_raw" if raw else "rlds"), raw)
    images = []
    for frame in frames[:4096]:
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, "png")
        images.append(stream.getvalue())

    def gunzip() -> None:
        logs = folder / "dopamine" / game / "1" / "replay_logs"
        for file in logs.glob("*observation*"):
            with gzip_ng.open(file) as stream:
                while stream.read(2**20):
                    pass

    def encode() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as target:
            writer = DatasetWriter(target, {})
            for start in range(0, count, SHARD_ROWS):
                span = slice(start, start + SHARD_ROWS)
                writer.commit(Rows(frames[span], *(x[span] for x in rows.columns.values())))

    def decode_png() -> None:
        list(pool.map(decode_frames, [images[s : s + 256] for s in range(0, len(images), 256)]))

    for source in ("dopamine", "rlds", "rlds_raw"):
        floors = {"zstd_encode": count / timed(encode)}
        if source == "dopamine":
            floors["gunzip"] = count / timed(gunzip)
        else:
            floors["png_decode"] = len(images) / timed(decode_png)
        arguments = (
            f"--source={source}",
            f"--path={folder / source}",
            f"--game={game}",
            f"--dataset={folder / 'converted'}",
        )
        whole = idle = np.inf  # seconds; idle: of a command with nothing left to convert
        for _ in range(_ROUNDS.value):
            whole = min(whole, command_seconds("pvn.convert", *arguments, "--overwrite"))
            idle = min(idle, command_seconds("pvn.convert", *arguments))
        print_row(
            case=f"convert_{source}",
            frames_per_second=count / max(whole - idle, 1e-3),
            **{f"floor_{name}_frames_per_second": speed for name, speed in floors.items()},
        )


# Sampling.


def sampling(path: str, share: float | None, on_device: bool, draws: bool = False) -> Call:
    """A call that samples ten batches.

    Args:
      path: of a dataset.
      share: of the rows that the buffer holds; None: all.
      on_device: whether the frames are in device memory.
      draws: whether the device draws the batches.
    """
    transitions = transitions_of(open_dataset(path))
    observation = transitions.observation
    row_bytes = observation.frame_bytes
    budget = None if share is None else int(share * transitions.num_rows * row_bytes)
    schedule = make_schedule(
        0,
        transitions,
        batch_size=BATCH,
        row_bytes=row_bytes,
        budget=None if budget is None else budget + transitions.nbytes,
        memory=2**63,
        reuse=1.0,
    )
    buffer = Buffer(transitions, schedule, Sampler(0, BATCH), start=0, on_host=not on_device)
    if not on_device:
        buffer.__enter__()  # until the process ends
        steps = iter(range(2**62))
        return lambda: [buffer.batch(next(steps)) for _ in range(BATCHES_A_CALL)]
    parallel = make_parallel(jax.devices()[:1])
    feed = Feed(
        buffer, parallel, start=0, num_steps=2**62, on_device=True, device_draws=draws
    ).__enter__()
    for _ in feed.fill():
        pass
    batches = iter(feed)
    if draws:
        next(batches)  # copies to the device
        step = jax.jit(
            lambda data, step: to_transition(
                observation, data.frames, take(data, draw(data, step, BATCH, None))
            )
        )
        numbers = itertools.count()
        return lambda: [
            jax.block_until_ready(step(feed.arrays, np.int32(next(numbers))))
            for _ in range(BATCHES_A_CALL)
        ]
    stacked = jax.jit(functools.partial(to_transition, observation))
    return lambda: [
        jax.block_until_ready(stacked(feed.arrays, batch))
        for batch in itertools.islice(batches, BATCHES_A_CALL)
    ]


def copying() -> Call:
    """A call that copies the bytes of ten batches, five frames for each transition, once."""
    source = np.ones((BATCHES_A_CALL * BATCH * 5, ATARI.frame_bytes), np.uint8)
    target = np.zeros_like(source)
    return lambda: np.copyto(target, source)


def decoding(path: str) -> Call:
    """A call that reads and decodes one shard of frames."""
    frames = open_dataset(path).rows.frame
    starts = iter(range(2**62))
    shards = max(len(frames) // SHARD_ROWS, 1)

    def shard() -> np.ndarray:
        first = next(starts) % shards * SHARD_ROWS
        return frames[first : first + SHARD_ROWS]

    return shard


def main() -> int:
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(usable_cores())) as pool:
        folder = Path(name)
        path = str(folder / "dataset")
        run_command(
            "pvn.collect",
            f"--game={_GAME.value}",
            f"--num_steps={_NUM_FRAMES.value}",
            f"--dataset={path}",
        )
        dataset = open_dataset(path)
        conversions(dataset, folder, pool)
        cases: dict[str, Callable[[], Call]] = {
            "sample_memory": functools.partial(sampling, path, None, False),
            "sample_rotating_quarter": functools.partial(sampling, path, 0.25, False),
            "sample_device": functools.partial(sampling, path, None, True),
            "sample_device_draws": functools.partial(sampling, path, None, True, True),
            "sample_device_rotating_quarter": functools.partial(sampling, path, 0.25, True),
            "floor_copy": copying,
            "floor_zstd_decode": functools.partial(decoding, path),
        }
        items = {"floor_zstd_decode": min(SHARD_ROWS, len(dataset.rows.action))}
        for case, found in measure(cases, _ROUNDS.value).items():
            unit = "frames" if case in items else "transitions"
            speed = items.get(case, BATCH * BATCHES_A_CALL) / found.seconds
            print_row(case=case, **{f"{unit}_per_second": speed})
    return 0


if __name__ == "__main__":
    console.run(main)
