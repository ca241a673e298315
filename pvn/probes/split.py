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


def draw_rows(usable: np.ndarray, max_rows: int, seed: int) -> np.ndarray:
    """At most `max_rows` of the rows where bool [N] is true, without replacement, ascending.

    Draws with one seed share as many rows as they can, and their features are computed once.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(usable))
    return np.sort(order[usable[order]][:max_rows])


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
        usable = np.zeros(len(episode), bool)
        usable[candidates] = True
        index = draw_rows(usable, max_rows, seed)
    test = np.isin(episode[index], episodes[:fifth])
    validation = np.isin(episode[index], episodes[fifth : 2 * fifth])
    split = Split(index, ~(test | validation), validation, test)
    if not all(part.any() for part in split[1:]):
        raise UserError(
            f"probe: {len(index)} rows leave a part of the episodes without any; use more rows"
        )
    return split


def varying(split: Split, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [K]: whether a column of values [M, K] has two different known values in each part.

    known: bool [M, K].
    """
    found = np.ones(values.shape[1], bool)
    for part in (split.train, split.validation, split.test):
        mine, there = values[part], known[part]
        first = mine[np.argmax(there, axis=0), np.arange(mine.shape[1])]
        found &= np.any(there & (mine != first[None]), axis=0)
    return found
