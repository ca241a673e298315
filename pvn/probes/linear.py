"""A linear probe: ridge regression from frozen features to any target, scored on held-out data."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pvn.data.store import Rows
from pvn.data.transitions import find_transitions, has_stack
from pvn.errors import UserError
from pvn.probes.ridge import PENALTIES, Ridge
from pvn.probes.score import r_squared_interval
from pvn.probes.split import split_episodes

_BATCH = 1024  # observations that are in memory together

FeatureFunction = Callable[[np.ndarray], np.ndarray]
"""uint8 [B, 84, 84, 4] -> float [B, F]."""


class ProbeResult(NamedTuple):
    """How well a linear function of the features predicts the targets of the test episodes."""

    r2: float
    low: float  # lower end of the 95 % bootstrap interval over test episodes
    high: float  # upper end
    penalty: float
    num_train_rows: int
    num_test_rows: int
    num_test_episodes: int


def probe(
    features: FeatureFunction,
    rows: Rows,
    targets: np.ndarray,
    known: np.ndarray,
    *,
    max_rows: int = 50_000,
    seed: int = 0,
    on_progress: Callable[[int], object] = lambda count: None,
) -> ProbeResult:
    """Fits a ridge regression from frozen features to targets, and scores it on test episodes.

    Episodes are split 60 : 20 : 20 into train, validation and test. The regression is fitted on the
    train rows. Its penalty is the one that predicts the validation rows best. The score is measured
    on the test rows.

    Args:
      features: maps observations to features; any callable.
      rows: N rows of a dataset, with the frames in memory or on disk.
      targets: float [N], the number to predict at each row.
      known: bool [N], whether the target of a row is known. Rows without a known target, or without
        a complete stack of frames, are left out.
      max_rows: largest number of rows to use; they are drawn without replacement.
      seed: seed of the split, the draw and the interval.
      on_progress: called with the number of rows just mapped to features.

    Raises:
      UserError: fewer than ten episodes with known targets; a part without rows; targets that do
        not vary within a part; features that are not float [B, F], not finite or too large.
    """
    candidates = np.flatnonzero(known & has_stack(rows))
    split = split_episodes(rows.episode, candidates, max_rows=max_rows, seed=seed)
    y = targets[split.row]
    if any(np.ptp(y[part]) == 0 for part in (split.train, split.validation, split.test)):
        raise UserError("probe: the targets do not vary (no rewards?); collect more steps")
    x = np.concatenate(list(_map_rows(features, rows, split.row, on_progress)))
    weights, intercepts = Ridge(x[split.train]).solve(y[split.train], PENALTIES)
    validation = split.validation
    with np.errstate(over="ignore", invalid="ignore"):
        predictions = x @ weights.T.astype(x.dtype) + intercepts[None].astype(x.dtype)
        error = np.mean(np.square(predictions[validation] - y[validation, None]), axis=0)
    if not np.isfinite(error).all() or not np.isfinite(predictions).all():
        raise UserError("probe: features are too large to predict with; did pretraining diverge?")
    best = int(np.argmin(error))
    episode = rows.episode[split.row[split.test]]
    r2, low, high = r_squared_interval(
        episode, y[split.test], predictions[split.test, best], seed=seed
    )
    return ProbeResult(
        r2=r2,
        low=low,
        high=high,
        penalty=float(PENALTIES[best]),
        num_train_rows=int(np.sum(split.train)),
        num_test_rows=int(np.sum(split.test)),
        num_test_episodes=len(np.unique(episode)),
    )


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
