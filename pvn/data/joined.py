"""Several datasets as one: their rows are concatenated, their episodes renumbered."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pvn.data.layout import COLUMNS, Rows
from pvn.data.returns import known_returns
from pvn.data.store import Dataset, Index, open_dataset, rows_of
from pvn.data.transitions import Transitions, find_transitions
from pvn.errors import UserError

_AGREE = ("game", "num_actions", "protocol", "frame_shape")  # attributes that must be equal


class _Joined:
    """The concatenated frames, or RAM, of several datasets; indexed like those of one."""

    def __init__(self, parts: Sequence[Any], starts: np.ndarray):
        self._parts, self._starts = parts, starts
        self.shape = (int(starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: Index) -> np.ndarray:
        rows = rows_of(rows, len(self))
        if isinstance(rows, slice):
            spans = [
                part[max(rows.start - start, 0) : max(min(rows.stop - start, len(part)), 0)]
                for part, start in zip(self._parts, self._starts.tolist(), strict=False)
                if rows.start < start + len(part) and rows.stop > start
            ]
            spans = spans or [self._parts[0][:0]]
            return spans[0] if len(spans) == 1 else np.concatenate(spans)
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        present = np.unique(part_of)
        if len(present) == 1:
            return self._parts[present[0]][rows - self._starts[present[0]]]
        frames = np.empty((*rows.shape, *self.shape[1:]), np.uint8)
        for part in present:
            here = part_of == part
            frames[here] = self._parts[part][rows[here] - self._starts[part]]
        return frames


def open_datasets(paths: Sequence[str]) -> Dataset:
    """Opens the datasets at `paths` as one. A single dataset stays as it is.

    Raises:
      UserError: as `open_dataset`; or two datasets differ in game, actions or protocol.
    """
    datasets = [open_dataset(path) for path in paths]
    first = datasets[0]
    for other in datasets[1:]:
        for key in _AGREE:
            if other.attributes.get(key) != first.attributes.get(key):
                raise UserError(
                    f"dataset {other.path}: its {key} is {other.attributes.get(key)}, that of "
                    f"{first.path} is {first.attributes.get(key)}; expected the same"
                )
    if len(datasets) == 1:
        return first
    starts = np.cumsum([0, *(len(dataset.rows.action) for dataset in datasets)])
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(dataset.rows, name) for dataset in datasets])
        for name in COLUMNS
        if name != "episode"
    }
    episodes, offset = [], 0
    for dataset in datasets:
        numbers = dataset.rows.episode - dataset.rows.episode.min()
        episodes.append(numbers + np.int32(offset))
        offset += int(numbers.max()) + 1
    rams = [dataset.rows.ram for dataset in datasets]
    rows = Rows(
        frame=_Joined([dataset.rows.frame for dataset in datasets], starts),
        ram=_Joined(rams, starts) if all(ram is not None for ram in rams) else None,
        episode=np.concatenate(episodes),
        **columns,
    )
    return Dataset(
        tuple(paths),
        {key: first.attributes[key] for key in _AGREE if key in first.attributes}
        | {"source": [dataset.attributes["source"] for dataset in datasets]},
        rows,
        starts,
    )


def transitions_of(dataset: Dataset, monte_carlo_discount: float | None = None) -> Transitions:
    """The transitions of a dataset, or of several as one.

    monte_carlo_discount: keep only transitions whose return at this discount is known (see
      `known_returns`); None: keep all.

    Raises:
      UserError: a dataset has no such transition.
    """
    rows = dataset.rows
    where = None
    why = "holds no transitions, only single rows"
    if monte_carlo_discount is not None:
        where = known_returns(rows, monte_carlo_discount)
        why = (
            "no episode is long enough for its discounted return to be known; collect more steps "
            "or lower config.discount"
        )
    transitions = find_transitions(rows, dataset.starts, where)
    for path, count in zip(dataset.paths, np.diff(transitions.groups), strict=True):
        if not count:
            raise UserError(f"dataset {path}: {why}")
    return transitions
