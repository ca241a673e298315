"""Monte Carlo returns: discounted sums along recorded episodes."""

import numpy as np

from pvn.data.layout import Rows
from pvn.data.transitions import episode_spans

NEGLIGIBLE_TAIL = 0.01  # share of a return's weight that may lie after a truncation


def discounted_returns(
    values: np.ndarray, episode: np.ndarray, discount: float | np.ndarray
) -> np.ndarray:
    """Discounted sums to the end of the episode: sum over k of discount^k * values[row + k].

    Args:
      values: float [N, ...].
      episode: int [N], the episode number of each row.
      discount: gamma, or an array of it for each of the last axis of `values`.

    Returns:
      An array of the shape and dtype of `values`.
    """
    starts, stops = episode_spans(episode)
    last, lengths = stops - 1, stops - starts
    returns = values.copy()
    # Backwards through all episodes at once: one vector operation a row of the longest episode.
    for back in range(1, int(lengths.max())):
        at = last[lengths > back] - back
        returns[at] += discount * returns[at + 1]
    return returns


def known_returns(rows: Rows, discount: float) -> np.ndarray:
    """bool [N]: whether the discounted return from a row is known.

    It is known if the episode ends with a terminal row. It is also known if the episode is
    truncated so late that the unknown rewards have less than 1 % of the weight: discount^n < 0.01,
    where n counts the rows from this one to the truncation.
    """
    starts, stops = episode_spans(rows.episode)
    stop = np.repeat(stops, stops - starts)
    tail = np.power(float(discount), stop - np.arange(len(stop)))
    return rows.terminal[stop - 1] | (tail < NEGLIGIBLE_TAIL)
