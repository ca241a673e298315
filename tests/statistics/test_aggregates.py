"""Held against rliable 1.2.0 (its metrics.py and library.py, run once) and against scipy."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from pvn.statistics import aggregates
from pvn.statistics.intervals import stratified_bootstrap

# Scores of 6 games; 5 runs of X and 4 of Y.
X = np.array([
    [0.54, 0.54, 1.82, 0.25, 1.39], [0.82, 0.6, 0.06, 1.19, 0.33], [0.02, 2.25, 0.86, 0.03, 0.36],
    [0.0, 4.85, 0.68, 0.11, 1.48], [0.44, 2.63, 2.52, 0.82, 1.38], [1.3, 0.0, 0.28, 0.62, 0.26],
])  # fmt: skip
Y = np.array([
    [0.54, 0.91, 1.07, 1.28], [0.82, 2.44, 0.13, 0.73], [0.02, 3.09, 0.42, 1.74],
    [1.46, 1.0, 2.96, 0.31], [0.11, 0.69, 0.97, 0.73], [2.26, 0.11, 2.67, 0.84],
])  # fmt: skip
STATISTICS = (
    aggregates.interquartile_mean,
    aggregates.median,
    aggregates.mean,
    aggregates.optimality_gap,
)


@pytest.mark.parametrize(
    ("games", "expected"),
    [
        (X, (0.68875, 0.806, 0.9476666666666667, 0.4126666666666666)),
        (Y, (0.92, 1.17375, 1.1375, 0.2779166666666667)),
    ],
)
def test_aggregates_are_those_of_rliable(games, expected):
    for statistic, value in zip(STATISTICS, expected, strict=True):
        assert statistic(list(games)) == pytest.approx(value, abs=1e-12)


def test_score_distribution_is_that_of_rliable():
    shares = aggregates.score_distribution(list(X), np.array([0, 0.25, 0.5, 1, 2]))
    np.testing.assert_allclose(shares, [28 / 30, 23 / 30, 18 / 30, 10 / 30, 4 / 30])


def test_probability_of_improvement_is_that_of_rliable_and_of_scipy():
    ours = aggregates.probability_of_improvement(list(X), list(Y))
    assert ours == pytest.approx(0.4416666666666667, abs=1e-12)
    assert aggregates.probability_of_improvement(list(Y), list(X)) == pytest.approx(1 - ours)
    shares = [stats.mannwhitneyu(x, y).statistic / 20 for x, y in zip(X, Y, strict=True)]
    assert ours == pytest.approx(np.mean(shares), abs=1e-12)


def test_ties_count_as_half():
    # Of four pairs, one is won and two are ties.
    share = aggregates.probability_of_improvement([np.array([1.0, 2.0])], [np.array([1.0, 2.0])])
    assert share == 0.5
    share = aggregates.probability_of_improvement([np.array([1.0, 2.0])], [np.array([1.0, 1.0])])
    assert share == 0.75


def test_intervals_are_those_of_resampling_with_rliable():
    # 95 % intervals of 20,000 (3,000 for the last) resamples of runs within games, each of whose
    # statistics rliable computed. Percentiles of 2,000 resamples vary by some 0.02.
    expected = [(0.433, 1.008), (0.5, 1.185), (0.634, 1.311), (0.287, 0.537)]
    games = dict(enumerate(X))
    for statistic, ends in zip(STATISTICS, expected, strict=True):
        np.testing.assert_allclose(stratified_bootstrap(games, statistic), ends, atol=0.03)
    both = games | {(game,): runs for game, runs in enumerate(Y)}
    ends = stratified_bootstrap(both, lambda s: aggregates.probability_of_improvement(s[:6], s[6:]))
    np.testing.assert_allclose(ends, (0.292, 0.604), atol=0.03)


def test_games_with_different_numbers_of_runs_weigh_the_same():
    games = [np.array([0.0, 0.0, 0.0, 0.0]), np.array([2.0])]
    assert aggregates.mean(games) == 1
    assert aggregates.median(games) == 1
    assert aggregates.optimality_gap(games) == 0.5
    assert aggregates.score_distribution(games, np.array([1.0])) == [0.5]


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 30])
def test_interquartile_mean_is_the_trimmed_mean_of_scipy(count):
    values = np.random.default_rng(count).normal(size=(5, count))
    found = aggregates.interquartile_mean([values[:, ::2], values[:, 1::2]])
    np.testing.assert_allclose(found, stats.trim_mean(values, 0.25, axis=-1), rtol=1e-12)


def test_a_report_starts_without_scipy_stats():
    """Its import takes about a second."""
    code = "import sys, pvn.report; sys.exit('scipy.stats' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_interquartile_mean_by_hand():
    # A quarter of eight is two: 1, 2 and 7, 100 are removed.
    games = [np.array([100.0, 3, 1, 4]), np.array([5.0, 2, 7, 6])]
    assert aggregates.interquartile_mean(games) == (3 + 4 + 5 + 6) / 4
    # A quarter of five, rounded down, is one.
    assert aggregates.interquartile_mean([np.array([-50.0, 1, 2, 6, 50])]) == 3
    assert aggregates.interquartile_mean([np.array([1.0, 2]), np.array([6.0])]) == 3
