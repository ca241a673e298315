"""A linear probe of frozen features: a regression or a classifier, scored on held-out episodes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from pvn.data.layout import Rows
from pvn.data.transitions import has_stack
from pvn.errors import UserError
from pvn.probes.classification import accuracy, average_precision, f1, macro_f1
from pvn.probes.fit import Fit, fit_binary, fit_classes, fit_regression
from pvn.probes.score import (
    Groups,
    Score,
    Statistic,
    bootstrap,
    of_rows,
    pooled_r_squared,
    r_squared,
)
from pvn.probes.split import Split, split_episodes, varying
from pvn.probes.table import FeatureFunction, FeatureTable, compute_table

OwnScores = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
"""(values, predictions), [R, K] each or [R] if K = 1 -> scores by name."""

_OWN_RESAMPLES = 200  # an own score is computed anew for each


class ProbeResult(NamedTuple):
    """How well a linear function of the features predicts the targets of the test episodes.

    `scores` has a mean over the outputs that vary for each metric: "r2" of numbers; "f1" and
    "average_precision" of bools; "macro_f1" and "accuracy" of integers; and the target's own. Of
    several numbers there is also "r2_pooled", of all together (`score.pooled_r_squared`), each
    scaled by its variance over the rows of all three parts.
    """

    scores: dict[str, Score]
    outputs: dict[str, dict[str, Score]]  # metric -> output -> score; empty without names
    penalty: float | list[float]  # a list if there are several outputs that vary
    num_train_rows: int
    num_test_rows: int
    num_test_episodes: int
    details: Mapping[str, float] = MappingProxyType({})  # that the target gives of the test rows


class Question(NamedTuple):
    """What is asked of features: K outputs at M rows of a dataset."""

    split: Split
    values: np.ndarray  # [M, K]
    known: np.ndarray  # bool [M, K]
    names: tuple[str, ...]  # of the K outputs, or empty
    episode: Groups  # of the test rows
    seed: int  # of the interval

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the rows whose features `answer` needs, int64 [M], ascending."""
        return self.split.row

    def answer(self, table: FeatureTable, own: OwnScores | None = None) -> ProbeResult:
        """Fits the regressions and scores them.

        Args:
          table: the features of at least the rows `rows`.
          own: computes more scores, from the test rows where all outputs are known.

        Raises:
          UserError: features are too large; `own` gives something else than numbers.
        """
        varies = self.varying
        fits = self._fit(table, varies)
        statistics = _statistics(
            self.values[self.split.test][:, varies],
            self.known[self.split.test][:, varies],
            fits,
            self.episode,
        )
        scores, outputs = {}, {}
        for metric, statistic in statistics.items():
            scores[metric], each = bootstrap(statistic, self.episode.num_episodes, seed=self.seed)
            if self.names:
                named = np.array(self.names, object)[varies]
                outputs[metric] = dict(zip(named, each, strict=True))
        if varies.sum() > 1 and self.values.dtype.kind == "f":
            pooled = pooled_r_squared(
                self.episode,
                *(self.values[self.split.test][:, varies], fits.prediction),
                self.known[self.split.test][:, varies],
                _variances(self.values, self.known)[varies],
            )
            scores["r2_pooled"], _ = bootstrap(pooled, self.episode.num_episodes, seed=self.seed)
        if own is not None:
            more = self._own_scores(own, varies, fits)
            if taken := sorted(scores.keys() & more.keys()):
                raise UserError(f"target: its score {taken[0]!r} is one of pvn's own; rename it")
            scores |= more
        penalty = fits.penalty.tolist()
        return ProbeResult(
            scores=scores,
            outputs=outputs,
            penalty=penalty[0] if len(penalty) == 1 else penalty,
            num_train_rows=int(np.sum(self.split.train)),
            num_test_rows=int(np.sum(self.split.test)),
            num_test_episodes=self.episode.num_episodes,
        )

    @property
    def varying(self) -> np.ndarray:
        """bool [K]: whether an output has two different values in each part."""
        return varying(self.split, self.values, self.known)

    @property
    def test_values(self) -> np.ndarray:
        """The values of the test rows where all outputs are known, [R, K], or [R] if K = 1."""
        values = self.values[self.split.test][self._whole]
        return values[:, 0] if values.shape[1] == 1 else values

    @property
    def _whole(self) -> np.ndarray:
        """bool [M_test]: whether all outputs of a test row are known."""
        return self.known[self.split.test].all(axis=1)

    def _fit(self, table: FeatureTable, varies: np.ndarray) -> Fit:
        """The fits of the outputs that vary."""
        values, known = self.values[:, varies], self.known[:, varies]
        if values.dtype.kind != "f":
            fit = fit_binary if values.dtype == bool else fit_classes
            columns = range(values.shape[1])
            return _join([fit(table, self.split, values[:, k], known[:, k]) for k in columns])
        masks, which = np.unique(known, axis=1, return_inverse=True)
        joined = np.zeros((int(self.split.test.sum()), values.shape[1]), np.float64)
        penalty = np.zeros(values.shape[1])
        for number in range(masks.shape[1]):  # outputs that are known at the same rows
            mine, mask = which == number, masks[:, number]
            found = fit_regression(table, self.split, values[:, mine], mask)
            joined[np.ix_(mask[self.split.test], mine)] = found.prediction[mask[self.split.test]]
            penalty[mine] = found.penalty
        return Fit(joined, joined, penalty)

    def _own_scores(self, own: OwnScores, varies: np.ndarray, fit: Fit) -> dict[str, Score]:
        whole, values = self._whole, self.test_values
        # An output that does not vary is predicted as it is.
        columns = values.reshape(len(values), -1).copy()
        columns[:, varies] = fit.prediction[whole]
        predictions = columns.reshape(values.shape)
        episode = self.episode.select(whole)
        names = sorted(own(values, predictions))

        def computed(rows: np.ndarray) -> list[float]:
            found = own(values[rows], predictions[rows])
            return [_number(found, name) for name in names]

        _, each = bootstrap(
            of_rows(episode, computed),
            episode.num_episodes,
            seed=self.seed,
            num_resamples=_OWN_RESAMPLES,
        )
        return dict(zip(names, each, strict=True))


def ask(
    rows: Rows,
    values: np.ndarray,
    known: np.ndarray,
    *,
    names: tuple[str, ...] = (),
    max_rows: int = 50_000,
    seed: int = 0,
) -> Question:
    """Splits the rows where an output is known, and draws the rows of the probe.

    Args:
      rows: N rows of a dataset.
      values: [N] or [N, K].
      known: bool [N] or [N, K].
      names: of the K outputs.
      max_rows, seed: as in `probe`.

    Raises:
      UserError: fewer than ten episodes with known targets; a part without rows; targets that do
        not vary within a part.
    """
    values = values.reshape(len(values), -1)
    known = np.broadcast_to(known.reshape(len(known), -1), values.shape)
    candidates = np.flatnonzero(known.any(axis=1) & has_stack(rows))
    split = split_episodes(rows.episode, candidates, max_rows=max_rows, seed=seed)
    episodes, group = np.unique(rows.episode[split.row[split.test]], return_inverse=True)
    question = Question(
        split, values[split.row], known[split.row], names, Groups(group, len(episodes)), seed
    )
    if not question.varying.any():
        raise UserError("probe: the targets do not vary (no rewards?); collect more steps")
    return question


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
    """Fits a linear function from frozen features to targets, and scores it on test episodes.

    Episodes are split 60 : 20 : 20 into train, validation and test. The function is fitted on the
    train rows. Its penalty, and the threshold of a classifier, are those that do best on the
    validation rows. The score is measured on the test rows.

    Args:
      features: maps observations to features; any callable.
      rows: N rows of a dataset, with the frames in memory or on disk.
      targets: [N] or [N, K], what to predict at each row: floats, bools, or integers from 0.
      known: bool [N] or [N, K], whether the target of a row is known. Rows without a known target,
        or without a complete stack of frames, are left out.
      max_rows: largest number of rows to use; they are drawn without replacement.
      seed: seed of the split, the draw and the interval.
      on_progress: called with the number of rows just mapped to features.

    Raises:
      UserError: fewer than ten episodes with known targets; a part without rows; targets that do
        not vary within a part; features that are not float [B, F], not finite or too large.
    """
    question = ask(rows, targets, known, max_rows=max_rows, seed=seed)
    return question.answer(compute_table(features, rows, question.rows, on_progress))


def _statistics(
    target: np.ndarray, known: np.ndarray, fit: Fit, episode: Groups
) -> dict[str, Statistic]:
    """The statistic of each metric, for test targets [M_test, K] and their fits."""
    if target.dtype.kind == "f":
        return {"r2": r_squared(episode, target, fit.prediction, known)}
    metrics: dict[str, tuple[Any, np.ndarray]] = (
        {"f1": (f1, fit.prediction), "average_precision": (average_precision, fit.score)}
        if target.dtype == bool
        else {"macro_f1": (macro_f1, fit.prediction), "accuracy": (accuracy, fit.prediction)}
    )
    return {
        metric: _side_by_side(
            [
                function(episode.select(known[:, k]), target[known[:, k], k], found[known[:, k], k])
                for k in range(target.shape[1])
            ]
        )
        for metric, (function, found) in metrics.items()
    }


def _variances(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float64 [K]: of each output [M, K], over the rows where it is known."""
    columns = zip(values.T.astype(np.float64), known.T, strict=True)
    return np.array([np.var(column[used]) if used.any() else np.nan for column, used in columns])


def _side_by_side(statistics: list[Statistic]) -> Statistic:
    return lambda counts: np.concatenate([each(counts) for each in statistics], axis=1)


def _join(fits: list[Fit]) -> Fit:
    """The fits of several outputs as one."""
    return Fit(
        np.stack([fit.prediction.reshape(-1) for fit in fits], axis=1),
        np.stack([fit.score.reshape(-1) for fit in fits], axis=1),
        np.concatenate([fit.penalty for fit in fits]),
    )


def _number(scores: Mapping[str, float], name: str) -> float:
    try:
        return float(scores[name])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"target: its score {name!r} is missing or not a number") from None
