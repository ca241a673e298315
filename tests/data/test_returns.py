"""Sums of several columns at once; of rewards, see tests/probes/test_value.py."""

import numpy as np

from pvn.data.returns import discounted_returns


def test_columns_by_hand() -> None:
    values = np.array([[1, 0], [0, 2], [4, 4], [1, 8], [1, 0]], np.float32)
    episode = np.array([3, 3, 3, 5, 5], np.int32)
    returns = discounted_returns(values, episode, 0.5)
    assert returns.dtype == np.float32
    assert returns.tolist() == [[2, 2], [2, 4], [4, 4], [1.5, 8], [1, 0]]
    assert values[0].tolist() == [1, 0]  # not changed


def test_each_column_has_its_discount() -> None:
    values = np.array([[1, 1], [0, 0], [4, 4]], np.float32)
    episode = np.zeros(3, np.int32)
    returns = discounted_returns(values, episode, np.float32([0.5, 0]))
    assert returns.dtype == np.float32
    assert returns.tolist() == [[2, 1], [2, 0], [4, 4]]
