"""Datasets of tests: read whole, or small and in memory."""

from pathlib import Path

import numpy as np

from pvn.data.layout import Rows
from pvn.data.store import Dataset, open_dataset


def read_dataset(path: Path | str) -> Dataset:
    """Reads the whole dataset into memory, with all checksums."""
    dataset = open_dataset(path)
    rows = dataset.rows
    ram = None if rows.ram is None else rows.ram[:]
    return dataset._replace(rows=rows._replace(frame=rows.frame[:], ram=ram))


def make_rows(lengths, reward, ends=None, numbers=None):
    """Rows of episodes. ends: "terminal" (all if None), "truncated" or "cut" (neither flag).

    A row's frame encodes its number, so that a test can look its features up.
    """
    total = sum(lengths)
    last = np.cumsum(lengths) - 1
    ends = np.array(ends or ["terminal"] * len(lengths))
    terminal, truncated = np.zeros(total, bool), np.zeros(total, bool)
    terminal[last], truncated[last] = ends == "terminal", ends == "truncated"
    row = np.arange(total)
    return Rows(
        frame=np.stack([row // 256, row % 256], axis=-1).astype(np.uint8)[:, None, :],
        action=np.zeros(total, np.int32),
        reward=np.asarray(reward, np.float32),
        terminal=terminal,
        truncated=truncated,
        cut_start=np.zeros(total, bool),
        episode=np.repeat(range(len(lengths)) if numbers is None else numbers, lengths).astype(
            np.int32
        ),
    )


def as_dataset(rows, **attributes):
    """A dataset in memory."""
    return Dataset(("memory",), attributes, rows, np.array([0, len(rows.action)]))


def looked_up(table):
    """Features: the row of `table` [N, F] whose number the newest frame encodes."""

    def features(observation):
        assert observation.dtype == np.uint8
        assert observation.shape[1:] == (1, 2, 4)
        newest = observation[:, 0, :, -1].astype(int)
        return table[newest[:, 0] * 256 + newest[:, 1]]

    return features
