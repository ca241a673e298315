"""The features of some rows of a dataset, computed once for all probes."""

from collections.abc import Callable, Iterator

import numpy as np

from pvn.data.layout import Rows
from pvn.data.transitions import find_transitions
from pvn.errors import UserError
from pvn.ridge import Ridge

_BATCH = 1024  # observations that are in memory together

FeatureFunction = Callable[[np.ndarray], np.ndarray]
"""uint8 [B, H, W, C] -> float [B, F]."""


class FeatureTable:
    """Features of M rows of a dataset, and the factorisations of the regressions on them."""

    def __init__(self, row: np.ndarray, features: np.ndarray):
        """
        Args:
          row: int64 [M], numbers of the rows in the dataset, ascending.
          features: float [M, F].
        """
        self._row, self._features = row, features
        self._ridges: dict[bytes, Ridge] = {}

    def at(self, row: np.ndarray) -> np.ndarray:
        """The features float [B, F] of rows int64 [B], which must be in the table."""
        return self._features[np.searchsorted(self._row, row)]

    def ridge(self, row: np.ndarray) -> Ridge:
        """The factorisation for rows int64 [B]. Probes that train on the same rows share it."""
        key = row.tobytes()
        if key not in self._ridges:
            self._ridges[key] = Ridge(self.at(row))
        return self._ridges[key]


def compute_table(
    features: FeatureFunction,
    rows: Rows,
    row: np.ndarray,
    on_progress: Callable[[int], object] = lambda count: None,
) -> FeatureTable:
    """Computes the features of the rows `row`, int64 [M], ascending, of a dataset.

    Args:
      features: maps observations to features; any callable.
      rows: the rows of the dataset, with the frames in memory or on disk.
      row: each must have a complete stack of frames.
      on_progress: called with the number of rows just mapped to features.

    Raises:
      UserError: features that are not float [B, F], or not finite.
    """
    return FeatureTable(row, np.concatenate(list(_map_rows(features, rows, row, on_progress))))


def _map_rows(
    features: FeatureFunction,
    rows: Rows,
    index: np.ndarray,
    on_progress: Callable[[int], object],
) -> Iterator[np.ndarray]:
    """Yields the features of the rows at `index`, float [B, F], batch by batch, in order."""
    transitions = find_transitions(rows)
    for start in range(0, len(index), _BATCH):
        batch = index[start : start + _BATCH]
        found = np.asarray(features(transitions.observations(batch)))
        if found.dtype.name in ("float16", "bfloat16"):  # their sums would overflow
            found = found.astype(np.float32)
        if found.ndim != 2 or len(found) != len(batch) or found.dtype.kind != "f":
            raise UserError(
                f"probe: the features of {len(batch)} states are {found.dtype} "
                f"{list(found.shape)}, expected float [{len(batch)}, F]"
            )
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            raise UserError(
                f"probe: the features of row {batch[np.argmin(finite)]} of the dataset are not "
                "finite; did pretraining diverge?"
            )
        yield found
        on_progress(len(found))
