"""Datasets as tests read them."""

from pathlib import Path

from pvn.data.store import Dataset, open_dataset


def read_dataset(path: Path | str) -> Dataset:
    """Reads the whole dataset into memory, with all checksums."""
    dataset = open_dataset(path)
    rows = dataset.rows
    ram = None if rows.ram is None else rows.ram[:]
    return dataset._replace(rows=rows._replace(frame=rows.frame[:], ram=ram))
