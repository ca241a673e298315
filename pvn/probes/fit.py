"""Fits the regressions of a probe: penalties chosen on validation rows, predictions of test rows.

Classifiers are closed forms too: ridge regression to 0 and 1 for a binary target, to one-hot labels
for classes (a least-squares classifier). A binary prediction is true above a threshold; a class is
the one of the highest prediction.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pvn.errors import UserError
from pvn.probes.classification import average_precision, best_threshold, macro_f1
from pvn.probes.score import Groups, Statistic
from pvn.probes.split import Split
from pvn.probes.table import FeatureTable
from pvn.ridge import PENALTIES


class Fit(NamedTuple):
    """Predictions of K outputs at M_test test rows."""

    prediction: np.ndarray  # [M_test, K]: float; of a classifier bool or int
    score: np.ndarray  # float [M_test, K]; of a binary target what the threshold is for
    penalty: np.ndarray  # float64 [K]


def fit_regression(
    table: FeatureTable,
    split: Split,
    values: np.ndarray,
    known: np.ndarray | None = None,
    groups: Sequence[np.ndarray] = (),
) -> Fit:
    """Ridge regression to K outputs. Each output has the penalty of its least validation error.

    Args:
      table: holds the features of the M rows of the split.
      split: M rows.
      values: float [M, K].
      known: bool [M], the rows that may be used; None: all.
      groups: bool [M] each; together they are all rows. Each group has a regression of its own,
        with the same penalty. None: one group.

    Raises:
      UserError: features are too large.
    """
    known = np.ones(len(split.row), bool) if known is None else known
    parts = [known & group for group in groups or [np.ones(len(split.row), bool)]]
    num_outputs: int = values.shape[1]
    error = np.zeros((len(PENALTIES), num_outputs))
    prediction = np.zeros((int(split.test.sum()), num_outputs), values.dtype)
    solvers = [_Solver(table, split, part, values) for part in parts]
    least = np.full(num_outputs, np.inf)
    penalty = np.zeros(num_outputs)
    for number, each in enumerate(PENALTIES):
        predicted = np.zeros_like(prediction)
        for part, solver in zip(parts, solvers, strict=True):
            validation, tested = solver.predict(float(each))
            with np.errstate(over="ignore", invalid="ignore"):
                square = np.square(validation - values[split.validation & part])
            error[number] += np.sum(square, axis=0, dtype=np.float64)
            predicted[part[split.test]] = tested
        _check(error[number])
        better = error[number] < least
        least[better], penalty[better] = error[number, better], each
        prediction[:, better] = predicted[:, better]
    _check(prediction)
    return Fit(prediction, prediction, penalty)


def fit_binary(table: FeatureTable, split: Split, values: np.ndarray, known: np.ndarray) -> Fit:
    """A least-squares classifier of one binary output, values bool [M].

    The penalty has the highest average precision on the validation rows, the threshold then the
    highest F1 there.
    """
    target = values[split.validation & known]

    def quality(validation: np.ndarray) -> float:
        return _whole(average_precision, target, validation[:, 0])

    penalty, validation, score = _choose(table, split, values[:, None], known, quality)
    threshold = best_threshold(target, validation[:, 0])
    return Fit(score >= threshold, score, np.array([penalty]))


def fit_classes(table: FeatureTable, split: Split, values: np.ndarray, known: np.ndarray) -> Fit:
    """A least-squares classifier of one output with several classes, values int [M].

    The penalty has the highest macro F1 on the validation rows. A class that no train row has is
    never predicted.
    """
    classes = np.unique(values[split.train & known])
    target = values[split.validation & known]

    def quality(validation: np.ndarray) -> float:
        return _whole(macro_f1, target, classes[np.argmax(validation, axis=1)])

    one_hot = values[:, None] == classes[None]
    penalty, _, score = _choose(table, split, one_hot, known, quality)
    label = classes[np.argmax(score, axis=1)][:, None]
    return Fit(label, label, np.array([penalty]))


def _choose(
    table: FeatureTable,
    split: Split,
    values: np.ndarray,
    known: np.ndarray,
    quality: Callable[[np.ndarray], float],
) -> tuple[float, np.ndarray, np.ndarray]:
    """The penalty of the highest quality, and its predictions of validation and test rows.

    The prediction of a row whose target is not known is 0.
    """
    solver = _Solver(table, split, known, values.astype(np.float32))
    best, found = -np.inf, (0.0, np.empty(0), np.empty(0))
    for penalty in map(float, PENALTIES):
        validation, tested = solver.predict(penalty)
        _check(validation)
        if (reached := quality(validation)) > best:
            best, found = reached, (penalty, validation, tested)
    prediction = np.zeros((int(split.test.sum()), values.shape[1]), found[2].dtype)
    prediction[known[split.test]] = found[2]
    _check(prediction)
    return found[0], found[1], prediction


class _Solver:
    """The regressions of all penalties on some rows, bool [M], to values [M, K]."""

    def __init__(self, table: FeatureTable, split: Split, used: np.ndarray, values: np.ndarray):
        train = split.train & used
        self._mean = values[split.train].mean(axis=0)
        self._inputs = [table.at(split.row[part & used]) for part in (split.validation, split.test)]
        self._ridge = table.ridge(split.row[train]) if train.any() else None
        self._moments = self._ridge.moments(values[train]) if self._ridge else None

    def predict(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of the validation and the test rows; without a train row, the overall mean"""
        if self._ridge is None or self._moments is None:
            one, two = (np.repeat(self._mean[None], len(x), axis=0) for x in self._inputs)
            return one, two
        weights, intercept = self._ridge.weights(self._moments, penalty)
        dtype = self._inputs[0].dtype
        with np.errstate(over="ignore", invalid="ignore"):
            one, two = (
                x @ weights.astype(dtype) + intercept[None].astype(dtype) for x in self._inputs
            )
        return one, two


def _whole(
    statistic: Callable[[Groups, np.ndarray, np.ndarray], Statistic],
    target: np.ndarray,
    prediction: np.ndarray,
) -> float:
    """A score of all rows together."""
    together = Groups(np.zeros(len(target), np.int64), 1)
    return float(statistic(together, target, prediction)(np.ones((1, 1), np.int64))[0, 0])


def _check(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise UserError("probe: features are too large to predict with; did pretraining diverge?")
