"""Monte Carlo returns: discounted sums along recorded episodes."""

import numpy as np

from pvn.data.store import Rows
from pvn.data.transitions import episode_spans

NEGLIGIBLE_TAIL = 0.01  # share of a return's weight that a truncation may hide


def discounted_returns(values: np.ndarray, episode: np.ndarray, discount: float) -> np.ndarray:
    """Sums over k of discount^k times the value k rows later, to the end of the episode.

    values: float [N, ...], of each row. episode: int [N]. Of the shape and dtype of `values`.
    """
    starts, stops = episode_spans(episode)
    last, lengths = stops - 1, stops - starts
    returns = values.copy()
    # All episodes at once, from their last row back: O(longest episode) vector operations.
    for back in range(1, int(lengths.max())):
        at = last[lengths > back] - back
        returns[at] += discount * returns[at + 1]
    return returns


def known_returns(rows: Rows, discount: float) -> np.ndarray:
    """bool [N]: whether the discounted return from a row on is in the record.

    It is where the episode ended, or was truncated so much later that the rest weighs less than
    1 % of the whole (discount^steps < 0.01).
    """
    starts, stops = episode_spans(rows.episode)
    stop = np.repeat(stops, stops - starts)
    tail = np.power(float(discount), stop - np.arange(len(stop)))
    return rows.terminal[stop - 1] | (tail < NEGLIGIBLE_TAIL)
