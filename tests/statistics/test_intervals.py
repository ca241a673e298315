import numpy as np
import pytest

from pvn.statistics.aggregates import mean
from pvn.statistics.intervals import nested_bootstrap, stratified_bootstrap


def test_interval_of_two_values_by_hand():
    # The mean of a resample of {0, 1} is 0 or 1 with probability 1/4 each, and otherwise 1/2.
    assert nested_bootstrap([[0, 1]]) == (0, 1)
    assert nested_bootstrap([[0, 1]], confidence=0.4) == (0.5, 0.5)


def test_interval_without_spread():
    assert nested_bootstrap([[3, 3, 3]]) == (3, 3)
    assert nested_bootstrap([[7.5]]) == (7.5, 7.5)


def test_interval_is_a_function_of_its_seed():
    values = np.random.default_rng(0).normal(size=30)
    assert nested_bootstrap([values], seed=1) == nested_bootstrap([values], seed=1)
    assert nested_bootstrap([values], seed=1) != nested_bootstrap([values], seed=2)


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = nested_bootstrap([rng.normal(5, 2, size=40)], num_resamples=1000)
        covered += low <= 5 <= high
    assert 0.90 <= covered / 400 <= 0.98


def test_interval_approaches_the_normal_one():
    values = np.random.default_rng(0).normal(size=2000)
    low, high = nested_bootstrap([values], num_resamples=4000)
    error = values.std() / np.sqrt(values.size)
    np.testing.assert_allclose(
        [low, high], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.1 * error
    )


def test_long_samples_are_drawn_in_batches():
    # A batch is 2**22 draws, so this takes 5 batches of one resample.
    values = np.arange(2**22) % 2
    low, high = nested_bootstrap([values], num_resamples=5)
    assert low < high
    np.testing.assert_allclose([low, high], 0.5, atol=0.002)


def test_nested_interval_counts_the_spread_between_groups():
    # Groups have no spread, so the resampled means are those of {0, 10} drawn twice.
    assert nested_bootstrap([[0, 0, 0], [10, 10]]) == (0, 10)
    assert nested_bootstrap([[0, 0, 0], [10, 10]], confidence=0.4) == (5, 5)


def test_stratified_interval_keeps_each_game_at_its_own_runs():
    # Resampling across games would give means from 0 to 100; within a game nothing changes.
    scores = {"Pong": np.zeros(3), "Breakout": np.full(3, 100.0)}
    assert stratified_bootstrap(scores, mean) == (50, 50)


def test_stratified_interval_by_hand():
    # Pong's two runs have means 0, 1/2, 1/2, 1. Breakout's single run does not change.
    low, high = stratified_bootstrap({"Pong": [0, 1], "Breakout": [4]}, mean)
    assert (low, high) == (2, 2.5)


def test_stratified_interval_of_a_vector():
    low, high = stratified_bootstrap(
        {"Pong": [0, 1]}, lambda games: np.stack([games[0].sum(axis=1), -games[0].sum(axis=1)], 1)
    )
    assert (low.tolist(), high.tolist()) == ([0, -2], [2, 0])


@pytest.mark.parametrize(
    "statistic",
    [
        nested_bootstrap,
        lambda empty: nested_bootstrap([[1.0], empty]),
        lambda empty: stratified_bootstrap({"Pong": empty}, mean),
        lambda _: stratified_bootstrap({}, mean),
    ],
)
def test_no_values_are_refused(statistic):
    with pytest.raises(ValueError, match="expected"):
        statistic([])
