"""Monte Carlo returns: discounted sums along recorded episodes."""

import numpy as np

from pvn.data.stack import episode_bounds
from pvn.data.store import Rows

NEGLIGIBLE_TAIL = 0.01  # share of a return's weight that a cut may hide


def discounted_returns(values: np.ndarray, episode: np.ndarray, discount: float) -> np.ndarray:
    """Sums over k of discount^k times the value k rows on, to the end of the episode.

    values: float [N, ...], of each row. episode: int [N]. Of the shape and dtype of `values`.
    """
    _, ends = episode_bounds(episode)
    last = np.unique(ends) - 1
    lengths = np.diff(last, prepend=-1)
    returns = values.copy()
    # All episodes at once, from their last row back: O(longest episode) vector operations.
    for back in range(1, int(lengths.max())):
        at = last[lengths > back] - back
        returns[at] += discount * returns[at + 1]
    return returns


def known_returns(rows: Rows, discount: float) -> np.ndarray:
    """bool [N]: where the discounted return from a row on can be read off the record.

    A row's is known if its episode ended, or was cut so much later that the unseen tail weighs
    less than 1 % of the whole (discount^steps < 0.01).
    """
    _, ends = episode_bounds(rows.episode)
    tail = np.power(float(discount), ends - np.arange(len(ends)))
    return rows.terminal[ends - 1] | (tail < NEGLIGIBLE_TAIL)
