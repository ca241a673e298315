"""Fills a replay from a stored dataset, as if one environment had played its rows."""

from collections.abc import Iterator

import numpy as np

from pvn.data.collection import Collection
from pvn.data.store import Rows
from pvn.data.transitions import episode_spans, find_transitions, has_stack
from pvn.evaluation.learner import Learner
from pvn.evaluation.replay import Replay
from pvn.evaluation.rollout import check_finite

_BATCH = 256  # observations that are mapped together


def labelled_rows(collection: Collection) -> np.ndarray:
    """The rows that have a whole observation and so can be used, int64 [M], in order of use.

    The episodes of several datasets take turns, by where in its dataset each begins. So the first
    rows, however many, are from all datasets in proportion to their sizes.
    """
    rows, starts = collection.rows, collection.starts
    found = np.flatnonzero(has_stack(rows))
    if len(starts) == 2:
        return found
    first, stop = episode_spans(rows.episode)
    begins = np.repeat(first, stop - first)[found]
    part = np.searchsorted(starts, begins, side="right") - 1
    place = (begins - starts[part]) / np.diff(starts)[part]
    return found[np.argsort(place, kind="stable")]


def remember_rows(
    replay: Replay, learner: Learner, rows: Rows, index: np.ndarray, clip_rewards: bool
) -> Iterator[int]:
    """Adds rows of a dataset to a replay of one environment; yields the number added each time.

    A row that ends an episode without a terminal, or before a gap, is truncated.

    Args:
      replay: of one environment.
      learner: says what the replay keeps of an observation.
      rows: of a dataset.
      index: int64 [M], from `labelled_rows`.
      clip_rewards: whether rewards are clipped to [-1, 1].

    Raises:
      UserError: a feature is NaN or infinite, or a frame cannot be read.
    """
    transitions = find_transitions(rows)
    ahead = np.minimum(index + 1, len(rows.action) - 1)
    goes_on = (rows.episode[ahead] == rows.episode[index]) & (ahead > index)
    truncated = ~rows.terminal[index] & ~goes_on
    reward = np.clip(rows.reward, -1, 1) if clip_rewards else rows.reward
    for start in range(0, len(index), _BATCH):
        part = index[start : start + _BATCH]
        padded = np.resize(part, _BATCH)  # one size, so that it is compiled once
        observation = transitions.observations(padded)
        acted = learner.act(observation)
        check_finite(acted.features, int(part[0]))
        states = learner.to_keep(observation, acted)
        for state, row, cut in zip(states, part, truncated[start:], strict=False):
            one = slice(row, row + 1)
            replay.add(
                state[None], rows.action[one], reward[one], rows.terminal[one], np.array([cut])
            )
        yield len(part)
