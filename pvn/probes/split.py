"""Splits the rows of a probe by episode, 60 : 20 : 20, into train, validation and test."""

from typing import NamedTuple

import numpy as np

from pvn.errors import UserError

MIN_EPISODES = 10


class Split(NamedTuple):
    """M rows of a dataset in three parts. No episode is in two parts."""

    row: np.ndarray  # int64 [M], numbers of the rows in the dataset, ascending
    train: np.ndarray  # bool [M]
    validation: np.ndarray  # bool [M]
    test: np.ndarray  # bool [M]


def split_episodes(
    episode: np.ndarray, candidates: np.ndarray, *, max_rows: int, seed: int
) -> Split:
    """Splits episodes at random into three parts, and draws at most `max_rows` rows.

    Args:
      episode: int [N], the episode of each row of a dataset.
      candidates: int64 [K], ascending, the rows that may be used.
      max_rows: number of rows to draw without replacement, if there are more candidates.
      seed: seed of the split and of the draw.

    Raises:
      UserError: the candidates belong to fewer than ten episodes, or a part gets no row.
    """
    random = np.random.default_rng(seed)
    episodes = random.permutation(np.unique(episode[candidates]))
    if len(episodes) < MIN_EPISODES:
        raise UserError(
            f"probe: {len(episodes)} episodes with known targets, expected {MIN_EPISODES} or more; "
            "collect more steps"
        )
    fifth = len(episodes) // 5
    index = candidates
    if len(index) > max_rows:
        index = np.sort(random.choice(index, max_rows, replace=False))
    test = np.isin(episode[index], episodes[:fifth])
    validation = np.isin(episode[index], episodes[fifth : 2 * fifth])
    split = Split(index, ~(test | validation), validation, test)
    if not all(part.any() for part in split[1:]):
        raise UserError(
            f"probe: {len(index)} rows leave a part of the episodes without any; use more rows"
        )
    return split
