"""Writes metrics to metrics.jsonl and to TensorBoard, and reads metrics.jsonl."""

import json
import math
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from pvn.storage.files import LineWriter, naming, read_text, write_whole
from pvn.storage.paths import make_folder

_FILE = "metrics.jsonl"
_FLUSH_SECONDS = 30  # time between flushes, because a flush waits for the disk


class MetricsWriter:
    """Writes each row of metrics to metrics.jsonl and, as scalars, to TensorBoard events.

    A context manager. Both files are written in the calling thread. Each line of metrics.jsonl is
    written immediately; events are buffered for 30 seconds or more. An `OSError`, such as the error
    of a full disk, names the file.
    """

    def __init__(self, workdir: Path, start_step: int):
        """Removes the rows of steps after `start_step`, because these steps are repeated."""
        file = workdir / _FILE
        lines = read_text(file).splitlines() if file.is_file() else []
        kept = [line for line in lines if _step_of(line) <= start_step]
        write_whole(file, "".join(line + "\n" for line in kept))
        self._events = _EventFile(workdir / "tensorboard", start_step + 1)
        self._lines = LineWriter(file)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a row. A value that is not finite is null in JSON and missing in TensorBoard."""
        row = {name: _finite(value) for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, **row}, allow_nan=False))
        self._events.write(step, {name: x for name, x in row.items() if x is not None})

    def close(self) -> None:
        self._lines.close()
        self._events.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(file: Path) -> list[dict[str, float | None]]:
    """The rows of a metrics.jsonl.

    Values that are not finite become None. Lines that are not JSON objects are left out, such as a
    last line that was cut off when a run was killed.
    """
    rows = [_parse(line) for line in read_text(file).splitlines()]
    return [
        {name: _finite(value) for name, value in row.items()} for row in rows if row is not None
    ]


class _EventFile:
    """A TensorBoard event file that is written in the calling thread.

    The SummaryWriter of tensorboardX writes in its own thread. If that thread ends because the disk
    is full, the next event waits forever.
    """

    def __init__(self, folder: Path, purge_step: int):
        """purge_step: TensorBoard hides the events of earlier files from this step on."""
        make_folder(folder, "run")
        prefix, number = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}", 0
        while (file := folder / f"{prefix}.{number}").exists():
            number += 1
        self._file = file
        with naming(file):
            self._records = RecordWriter(str(file))
        self._add(file_version="brain.Event:2")
        self._add(step=purge_step, session_log=SessionLog(status=SessionLog.START))
        self._flush()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._add(step=step, summary=scalar(name, value))
        if time.monotonic() > self._flushed + _FLUSH_SECONDS:
            self._flush()

    def _add(self, **fields: Any) -> None:
        with naming(self._file):
            self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())

    def _flush(self) -> None:
        with naming(self._file):
            self._records.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        with naming(self._file):
            self._records.close()


def _finite(value: float | None) -> float | None:
    if value is None or isinstance(value, int):
        return value
    value = float(value)
    return value if math.isfinite(value) else None


def _parse(line: str) -> dict[str, Any] | None:
    """The row in a line; None if the line is not a JSON object."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _step_of(line: str) -> float:
    """The step of a line; infinity if it has none, because the line was cut off."""
    step = (_parse(line) or {}).get("step")
    return step if isinstance(step, int) else math.inf
