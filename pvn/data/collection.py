"""Several datasets as one: their rows one after the other, their episodes numbered anew."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pvn.data.returns import known_returns
from pvn.data.stack import transition_rows
from pvn.data.store import Rows, open_dataset
from pvn.errors import UserError

_AGREE = ("game", "num_actions", "protocol")  # what datasets must have in common


class Collection(NamedTuple):
    """One dataset or more, with all columns in memory and the frames on disk."""

    paths: tuple[str, ...]
    attributes: dict[str, Any]  # game, num_actions, protocol, and the source of each
    rows: Rows  # N rows, those of dataset k at starts[k] .. starts[k + 1]
    starts: np.ndarray  # int64 [K + 1]
    fingerprint: str  # SHA-256 over their files


class _JoinedFrames:
    """Frames of several datasets under one numbering; indexed like those of one."""

    def __init__(self, parts: Sequence[Any], starts: np.ndarray):
        self._parts, self._starts = parts, starts

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
        frames = np.empty((*rows.shape, *self._parts[0][:1].shape[1:]), np.uint8)
        for part in present:
            here = part_of == part
            frames[here] = self._parts[part][rows[here] - self._starts[part]]
        return frames


def open_collection(paths: Sequence[str]) -> Collection:
    """Opens the datasets at `paths` as one; a single one is just itself.

    Raises:
      UserError: as `open_dataset`; or two of them differ in game, actions or protocol.
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
        return Collection(
            tuple(paths), first.attributes, first.rows, starts, first.compute_fingerprint()
        )
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(dataset.rows, name) for dataset in datasets])
        for name in Rows._fields[1:-1]
    }
    episodes, offset = [], 0
    for dataset in datasets:
        numbers = dataset.rows.episode - dataset.rows.episode.min()
        episodes.append(numbers + np.int32(offset))
        offset += int(numbers.max()) + 1
    rows = Rows(
        frame=_JoinedFrames([dataset.rows.frame for dataset in datasets], starts),
        episode=np.concatenate(episodes),
        **columns,
    )
    prints = "".join(dataset.compute_fingerprint() for dataset in datasets)
    return Collection(
        tuple(paths),
        {key: first.attributes.get(key) for key in _AGREE}
        | {"source": [dataset.attributes["source"] for dataset in datasets]},
        rows,
        starts,
        hashlib.sha256(prints.encode()).hexdigest(),
    )


def find_transitions(
    collection: Collection, monte_carlo_discount: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(the row of each of M transitions, int64 [M]; where those of each dataset begin, [K + 1]).

    monte_carlo_discount: only those whose discounted returns can be read off the record.

    Raises:
      UserError: a dataset has none.
    """
    valid = transition_rows(collection.rows)
    why = "holds no transitions, only single rows"
    if monte_carlo_discount is not None:
        valid = valid[known_returns(collection.rows, monte_carlo_discount)[valid]]
        why = (
            "every return is cut off, expected episodes that end, or longer ones; collect more "
            "steps or lower config.discount"
        )
    groups = np.searchsorted(valid, collection.starts)
    for path, count in zip(collection.paths, np.diff(groups), strict=True):
        if not count:
            raise UserError(f"dataset {path}: {why}")
    return valid, groups
