"""Several datasets as one: their rows are concatenated, their episodes renumbered."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pvn.data.returns import known_returns
from pvn.data.store import COLUMNS, Rows, fingerprint, open_dataset
from pvn.data.transitions import Transitions, find_transitions
from pvn.errors import UserError

_AGREE = ("game", "num_actions", "protocol", "frame_shape")  # attributes that must be equal


class Collection(NamedTuple):
    """One or several datasets, with all columns in memory and the frames on disk."""

    paths: tuple[str, ...]
    attributes: dict[str, Any]  # of several: game, num_actions, protocol, list of sources
    rows: Rows  # N rows; dataset k has rows starts[k] .. starts[k + 1] (exclusive)
    starts: np.ndarray  # int64 [K + 1]

    def compute_fingerprint(self) -> str:
        """SHA-256 over the files of all datasets. Reads every file.

        Raises:
          UserError: two datasets hold the same data, so each transition would count twice.
        """
        prints = [fingerprint(path) for path in self.paths]
        for number, each in enumerate(prints):
            if each in prints[:number]:
                raise UserError(
                    f"dataset {self.paths[number]}: holds the same data as "
                    f"{self.paths[prints.index(each)]}; expected each dataset once"
                )
        if len(prints) == 1:
            return prints[0]
        return hashlib.sha256("".join(prints).encode()).hexdigest()


class _Joined:
    """The concatenated frames, or RAM, of several datasets; indexed like those of one."""

    def __init__(self, parts: Sequence[Any], starts: np.ndarray):
        self._parts, self._starts = parts, starts
        self.shape = (int(starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            first, stop, _ = rows.indices(len(self))
            spans = [
                part[max(first - start, 0) : max(min(stop - start, len(part)), 0)]
                for part, start in zip(self._parts, self._starts.tolist(), strict=False)
                if first < start + len(part) and stop > start
            ]
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


def open_collection(paths: Sequence[str]) -> Collection:
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
    starts = np.cumsum([0, *(len(dataset.rows.action) for dataset in datasets)])
    if len(datasets) == 1:
        return Collection(tuple(paths), first.attributes, first.rows, starts)
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
    return Collection(
        tuple(paths),
        {key: first.attributes[key] for key in _AGREE if key in first.attributes}
        | {"source": [dataset.attributes["source"] for dataset in datasets]},
        rows,
        starts,
    )


def collection_transitions(
    collection: Collection, monte_carlo_discount: float | None = None
) -> Transitions:
    """The transitions of a collection.

    monte_carlo_discount: keep only transitions whose return at this discount is known (see
      `known_returns`); None: keep all.

    Raises:
      UserError: a dataset has no such transition.
    """
    rows = collection.rows
    where = None
    why = "holds no transitions, only single rows"
    if monte_carlo_discount is not None:
        where = known_returns(rows, monte_carlo_discount)
        why = (
            "no episode is long enough for its discounted return to be known; collect more steps "
            "or lower config.discount"
        )
    transitions = find_transitions(rows, collection.starts, where)
    for path, count in zip(collection.paths, np.diff(transitions.groups), strict=True):
        if not count:
            raise UserError(f"dataset {path}: {why}")
    return transitions
