"""Fills a replay from a stored dataset, as if one environment had played its rows."""

from collections.abc import Iterator

import numpy as np

from pvn.data.layout import Rows
from pvn.data.store import Dataset
from pvn.data.transitions import find_transitions, has_stack
from pvn.evaluation.learner import Learner
from pvn.evaluation.replay import Replay
from pvn.evaluation.rollout import check_finite

_BATCH = 256  # observations that are mapped together


def num_labelled(dataset: Dataset) -> int:
    """The number of rows that have a whole observation and so can be used."""
    return int(np.sum(has_stack(dataset.rows)))


def labelled_rows(dataset: Dataset, num_labels: int) -> np.ndarray:
    """The rows to learn from, int64 [num_labels], ascending.

    They are the first that have a whole observation, of each dataset in proportion to how many it
    has.

    Args:
      dataset: one, or several as one.
      num_labels: at most `num_labelled`.
    """
    found = np.flatnonzero(has_stack(dataset.rows))
    edges = np.searchsorted(found, dataset.starts)
    counts = np.diff(np.round(num_labels * edges / len(found)).astype(int))
    pieces = [found[edge : edge + count] for edge, count in zip(edges[:-1], counts, strict=True)]
    return np.concatenate(pieces)


def remember_rows(
    replay: Replay, learner: Learner, rows: Rows, index: np.ndarray, clip_rewards: bool
) -> Iterator[int]:
    """Adds rows of a dataset to a replay of one environment; yields the number added each time.

    A row that ends an episode without a terminal, or whose next row is not added, is truncated.

    Args:
      replay: of one environment.
      learner: says what the replay keeps of an observation.
      rows: of a dataset.
      index: int64 [M], ascending, from `labelled_rows`.
      clip_rewards: whether rewards are clipped to [-1, 1].

    Raises:
      UserError: a feature is NaN or infinite, or a frame cannot be read.
    """
    transitions = find_transitions(rows)
    ahead = np.append(index[1:], -1)
    goes_on = (ahead == index + 1) & (rows.episode[ahead] == rows.episode[index])
    truncated = ~rows.terminal[index] & ~goes_on
    reward = np.clip(rows.reward, -1, 1) if clip_rewards else rows.reward
    for start in range(0, len(index), _BATCH):
        part = index[start : start + _BATCH]
        padded = np.resize(part, _BATCH)  # one size, so that it is compiled once
        observation = transitions.observations(padded)
        acted = learner.act(observation)
        check_finite(acted.features, lambda i: f"row {padded[i]:,} of the dataset")  # noqa: B023
        states = learner.to_keep(observation, acted)
        for state, row, cut in zip(states, part, truncated[start:], strict=False):
            one = slice(row, row + 1)
            replay.add(
                state[None], rows.action[one], reward[one], rows.terminal[one], np.array([cut])
            )
        yield len(part)
