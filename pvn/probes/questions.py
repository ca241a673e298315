"""The questions that several targets ask of features, on the same rows where possible."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pvn.data.store import Dataset
from pvn.data.transitions import has_stack
from pvn.errors import UserError
from pvn.probes.linear import ProbeResult, Question, ask
from pvn.probes.next_features import NextFeatures, NextQuestion
from pvn.probes.split import draw_rows
from pvn.probes.table import FeatureTable
from pvn.probes.target import NamedTarget, targets_of

DIAGNOSED = 4096  # largest number of states for diagnostics


class Asked(NamedTuple):
    """A target and the question it asks."""

    target: NamedTarget
    question: Question | NextQuestion


class Questions(NamedTuple):
    """Everything that is asked of each set of features."""

    asked: list[Asked]
    diagnosed: np.ndarray  # int64, rows for the diagnostics; empty without

    @property
    def rows(self) -> np.ndarray:
        """Numbers of all rows whose features are needed, int64 [M], ascending."""
        return np.unique(np.concatenate([self.diagnosed, *(x.question.rows for x in self.asked)]))

    def answers(self, table: FeatureTable) -> Iterator[tuple[NamedTarget, ProbeResult]]:
        """Yields the result of each target.

        Raises:
          UserError: features are too large, or the target's own scores are not numbers.
        """
        for target, question in self.asked:
            yield target, question.answer(table, getattr(target.target, "scores", None))


def ask_all(
    targets: Sequence[NamedTarget],
    dataset: Dataset,
    folder: Path,
    *,
    max_rows: int,
    seed: int,
    diagnostics: bool,
) -> Questions:
    """Computes the targets, and draws the rows of each.

    Args:
      targets: at least one.
      dataset: the dataset.
      folder: where targets may keep what was expensive to compute.
      max_rows, seed: as in `pvn.probes.linear.probe`.
      diagnostics: whether to draw states for diagnostics.

    Raises:
      UserError: see `targets_of` and `ask`. The message names the target.
    """
    asked = []
    for target in targets:
        try:
            asked.append(Asked(target, _ask(target, dataset, folder, max_rows, seed)))
        except UserError as error:
            text = str(error)
            if not text.startswith("probe: "):
                raise
            raise UserError(f"target {target.name}: {text.removeprefix('probe: ')}") from None
    diagnosed = np.empty(0, np.int64)
    if diagnostics:
        diagnosed = draw_rows(has_stack(dataset.rows), min(DIAGNOSED, max_rows), seed)
    return Questions(asked, diagnosed)


def _ask(
    named: NamedTarget, dataset: Dataset, folder: Path, max_rows: int, seed: int
) -> Question | NextQuestion:
    if isinstance(named.target, NextFeatures):
        return named.target.ask(dataset.rows, max_rows=max_rows, seed=seed)
    values, known, _, names = targets_of(named, dataset, folder)
    return ask(dataset.rows, values, known, names=names, max_rows=max_rows, seed=seed)
