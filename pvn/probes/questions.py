"""The questions that several targets ask of features, on the same rows where possible."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pvn.data.store import Dataset
from pvn.data.transitions import has_stack
from pvn.errors import UserError
from pvn.evaluation.records import is_name
from pvn.plugins import plugin_errors
from pvn.probes.linear import OwnScores, ProbeResult, Question, ask
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
          UserError: features are too large; the code of a target's own scores or details raises,
            or they are not numbers by name.
        """
        for target, question in self.asked:
            try:
                result = question.answer(table, _own_scores(target))
            except UserError as error:
                raise _named(error, "target: ", target.source) from None
            if isinstance(question, Question):
                result = result._replace(details=_own_details(target, question))
            yield target, result


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
            question = _ask(target, dataset, folder, max_rows, seed)
        except UserError as error:
            raise _named(error, "probe: ", target.name) from None
        asked.append(Asked(target._replace(settings=_settings(target)), question))
    diagnosed = np.empty(0, np.int64)
    if diagnostics:
        diagnosed = draw_rows(has_stack(dataset.rows), min(DIAGNOSED, max_rows), seed)
    return Questions(asked, diagnosed)


def _ask(
    named: NamedTarget, dataset: Dataset, folder: Path, max_rows: int, seed: int
) -> Question | NextQuestion:
    if isinstance(named.target, NextFeatures):
        return named.target.ask(dataset.rows, max_rows=max_rows, seed=seed)
    values, known, names = targets_of(named, dataset, folder)
    return ask(dataset.rows, values, known, names=names, max_rows=max_rows, seed=seed)


def _settings(named: NamedTarget) -> dict[str, Any]:
    """The settings of a target that has run, which rows of results hold as JSON."""
    with plugin_errors("target", named.source):
        settings = named.settings | dict(getattr(named.target, "described", {}))
    for name, value in settings.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise UserError(
                f"target {named.name}: its setting {name} is a {type(value).__name__}, expected "
                "numbers, text, lists or dicts"
            ) from None
    return settings


def _named(error: UserError, beginning: str, name: str) -> UserError:
    """An error that begins like this, with the name of the target; other errors as they are."""
    text = str(error)
    if not text.startswith(beginning):
        return error
    return UserError(f"target {name}: {text.removeprefix(beginning)}")


def _own_scores(named: NamedTarget) -> OwnScores | None:
    """The target's method `scores`, whose errors are one line, with its result checked."""
    own = getattr(named.target, "scores", None)
    if own is None:
        return None

    def scores(values: np.ndarray, predictions: np.ndarray) -> Mapping[str, float]:
        with plugin_errors("target", named.source):
            found = own(values, predictions)
        return _check_numbers(f"target {named.source}: scores(values, predictions)", found)

    return scores


def _own_details(named: NamedTarget, question: Question) -> Mapping[str, float]:
    own = getattr(named.target, "details", None)
    if own is None:
        return {}
    with plugin_errors("target", named.source):
        found = own(question.test_values)
    return _check_numbers(f"target {named.source}: details(values)", found)


def _check_numbers(place: str, found: Any) -> Mapping[str, float]:
    """`found` if it has a real number for each name. `UserError` if not."""
    if isinstance(found, Mapping) and all(is_name(k) and _is_number(x) for k, x in found.items()):
        return {name: float(x) for name, x in found.items()}
    text = " ".join(repr(found).split())
    text = text if len(text) <= 60 else f"{text[:60]}..."
    raise UserError(f"{place} gave {text}, expected a dict of names to numbers")


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu"
