"""Files of datasets and runs: read whole, compared, damaged."""

import gzip
import io
import json
from pathlib import Path

import numpy as np

TIMING = ("steps_per_second", "transitions_per_second", "data_wait_share")


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files in a folder and below, by their relative paths."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def metrics(workdir: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl without what depends on time."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMING} for row in rows]


def flip(file: Path, at: int | None = None, bit: int = 0) -> None:
    """Flips a bit of the byte `at`; None: of the byte in the middle."""
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2 if at is None else at] ^= 1 << bit
    file.write_bytes(raw)


def save_npy_gz(file: Path, array: np.ndarray) -> None:
    """Writes an array as Dopamine's logs hold it."""
    stream = io.BytesIO()
    np.save(stream, array)
    file.write_bytes(gzip.compress(stream.getvalue(), 1))


def load_npy_gz(file: Path) -> np.ndarray:
    return np.load(io.BytesIO(gzip.decompress(file.read_bytes())))
