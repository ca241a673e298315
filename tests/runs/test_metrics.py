"""Rows of metrics: strict JSON, current names, and the same numbers as TensorBoard events."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from pvn.runs.metrics import MetricsWriter, read_metrics


def events(workdir: Path) -> list[tuple[int, str, float]]:
    found = []
    for file in sorted((workdir / "tensorboard").iterdir()):
        raw = file.read_bytes()
        while raw:  # a record: length, its checksum, event, its checksum
            (length,) = struct.unpack("<Q", raw[:8])
            event = Event.FromString(raw[12 : 12 + length])
            found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
            raw = raw[16 + length :]
    return found


def refuse(constant: str) -> None:
    pytest.fail(f"{constant} is not JSON")


def test_every_value_is_finite_or_null(tmp_path: Path) -> None:
    values = {"a": np.float32(0.5), "b": math.inf, "c": -math.inf, "d": math.nan, "e": 3}
    with MetricsWriter(tmp_path, 0) as metrics:
        metrics.write(10, values)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = {"step": 10, "a": 0.5, "b": None, "c": None, "d": None, "e": 3}
    assert json.loads(line, parse_constant=refuse) == row
    assert read_metrics(tmp_path / "metrics.jsonl") == [row]
    assert events(tmp_path) == [(10, "a", 0.5), (10, "e", 3.0)]


def test_rows_after_the_start_are_dropped(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, 0) as metrics:
        for step in (10, 20, 30):
            metrics.write(step, {"x": step})
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4')  # the run was killed here
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [10, 20, 30]
    with MetricsWriter(tmp_path, 20) as metrics:
        metrics.write(30, {"x": 31})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 10, "x": 10}, {"step": 20, "x": 20}, {"step": 30, "x": 31}
    ]  # fmt: skip
    assert events(tmp_path) == [(10, "x", 10), (20, "x", 20), (30, "x", 30), (30, "x", 31)]


def test_numbers_that_are_not_finite_are_read_as_none(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": Infinity}\n')
    assert read_metrics(file) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]
