"""What is on the screen, as a probe target: annotated bytes of the emulator's RAM.

Anand et al. (2019, arXiv 1906.08226) train a classifier with 256 classes for each variable and
report F1. Most variables are ordered numbers (positions, scores, lives), so here each is one number
and its score is R^2.
"""

from pathlib import Path

import numpy as np

from pvn.data.layout import SHARD_ROWS
from pvn.data.store import Dataset
from pvn.envs.ram import find_variables
from pvn.errors import UserError


class RamTarget:
    """The annotated variables that vary within the dataset."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()  # of the K outputs, once `targets` has run

    def targets(self, dataset: Dataset, folder: Path = Path()) -> tuple[np.ndarray, np.ndarray]:
        """The variables, float32 [N, K] from 0 to 255; all are known, bool [N, K].

        Args:
          dataset: with RAM.
          folder: not used.

        Raises:
          UserError: the dataset has no RAM, the game has no annotations, or no variable varies.
        """
        variables = find_variables(dataset.attributes["game"])
        ram, count = dataset.rows.ram, len(dataset.rows.action)
        if ram is None:
            raise UserError(
                f"target ram: dataset {dataset.path} holds no RAM; collect one with python -m "
                "pvn.collect --ram (converted data have none)"
            )
        columns = list(variables.values())
        # Shard by shard: all 128 bytes of all rows may not fit in memory.
        parts = [ram[row : row + SHARD_ROWS][:, columns] for row in range(0, count, SHARD_ROWS)]
        values = np.concatenate(parts)
        varies = np.any(values != values[:1], axis=0)
        if not varies.any():
            raise UserError(f"target ram: no variable varies in dataset {dataset.path}")
        self.names = tuple(np.array(list(variables))[varies].tolist())
        values = values[:, varies].astype(np.float32)
        return values, np.ones(values.shape, bool)
