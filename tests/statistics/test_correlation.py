import itertools

import numpy as np
import pytest
from scipy import stats

from pvn.statistics.correlation import rank_interval, spearman, within_groups


def test_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40).round(1)  # with ties
    y = (x + rng.normal(size=40)).round(1)
    result = spearman(list(x), list(y))
    expected = stats.spearmanr(x, y)
    assert result.num_pairs == 40
    assert result.rho == pytest.approx(expected.statistic, abs=1e-12)
    assert result.p_value == pytest.approx(expected.pvalue, abs=0.005)


def test_interval_by_hand():
    # Ranks 1..5 and 2, 1, 4, 3, 5: the squared differences sum to 4, rho = 1 - 6 * 4 / 120.
    result = spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    assert result.rho == pytest.approx(0.8)
    error = np.sqrt((1 + 0.8**2 / 2) / 2)
    assert result.interval == pytest.approx(
        (np.tanh(np.arctanh(0.8) - 1.96 * error), np.tanh(np.arctanh(0.8) + 1.96 * error))
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_correlation_has_no_interval(sign):
    result = spearman([1, 2, 3, 4, 5], [2 * sign, 3 * sign, 4 * sign, 5 * sign, 9 * sign])
    assert result.rho == pytest.approx(sign)
    assert result.interval is None
    assert result.p_value == pytest.approx(2 / 120)


def test_p_value_counts_all_permutations():
    values = [2, 1, 4, 3, 5]
    rhos = [stats.spearmanr(range(5), each).statistic for each in itertools.permutations(values)]
    as_large = np.mean(np.abs(rhos) >= 0.8 - 1e-9)
    assert spearman([1, 2, 3, 4, 5], values).p_value == pytest.approx(as_large)


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # of a normal pair with correlation 0.6
    covered = 0
    for _ in range(200):
        x = rng.normal(size=20)
        y = 0.6 * x + 0.8 * rng.normal(size=20)
        low, high = rank_interval(stats.spearmanr(x, y).statistic, 20)
        covered += low <= truth <= high
    assert 0.9 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2, 3, 4], [1, 2, 3, 4]), ([1] * 6, list(range(6))), ([], [])]
)
def test_too_little_has_no_correlation(x, y):
    assert spearman(x, y) == (len(x), None, None, None)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="expected as many x as y, got 2 and 1"):
        spearman([1, 2], [1])


def test_within_groups_by_hand():
    pairs = {
        "up": [(1.0, 10.0), (2.0, 20.0), (3.0, 30.0)],
        "down": [(1.0, 300.0), (2.0, 200.0), (3.0, 100.0)],
        "mixed": [(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)],  # rho 0.5
        "two": [(1.0, 1.0), (2.0, 2.0)],
        "flat": [(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)],
    }
    result = within_groups(pairs)
    assert (result.num_groups, result.interval) == (3, None)
    assert result.rho == pytest.approx(0.5 / 3)
    assert within_groups({"two": pairs["two"]}) == (0, None, None)
    many = within_groups({str(i): pairs["up"] for i in range(5)})
    assert many.interval == pytest.approx((1, 1))
