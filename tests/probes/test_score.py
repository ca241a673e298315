import numpy as np
import pytest
from sklearn.metrics import r2_score

from pvn.probes.score import Groups, bootstrap, of_rows, pooled_r_squared, r_squared


def r_squared_interval(episode, target, prediction, known=None, **options):
    """(R^2, low, high) of one output."""
    episodes, group = np.unique(episode, return_inverse=True)
    known = np.ones(len(target), bool) if known is None else known
    columns = [column[:, None] for column in (target, prediction, known)]
    statistic = r_squared(Groups(group, len(episodes)), *columns)
    return tuple(bootstrap(statistic, len(episodes), **options)[0])


def episodes_of_predictions(count, length, seed):
    """(episode, target, prediction). Targets and errors vary mostly between episodes."""
    random = np.random.default_rng(seed)
    episode = np.repeat(random.permutation(1000)[:count], length)
    shared, error = np.repeat(random.normal(size=(2, count)), length, axis=1)
    target = shared + 0.3 * random.normal(size=len(episode))
    return episode, target, target + 0.7 * error + 0.3 * random.normal(size=len(episode))


# The variance of the targets is 1.09, that of the errors 0.58.
TRUE_R2 = 1 - (0.49 + 0.09) / 1.09


def test_r_squared_is_that_of_scikit_learn():
    for seed in range(5):
        episode, target, prediction = episodes_of_predictions(20, 6, seed)
        r2, low, high = r_squared_interval(episode, target + 9, prediction + 9)
        np.testing.assert_allclose(r2, r2_score(target, prediction), rtol=1e-9)
        assert low < r2 < high
    constant = np.full(len(target), target.mean())
    np.testing.assert_allclose(r_squared_interval(episode, target, constant)[0], 0, atol=1e-12)
    assert r_squared_interval(episode, target, target) == (1, 1, 1)


def test_interval_of_two_episodes_by_hand():
    # A resample is the first episode twice (1/4), both (1/2), or the second twice (1/4).
    episode = np.array([7, 7, 3, 3, 3])
    target = np.array([0.0, 2, 1, 4, 7])
    prediction = np.array([0.5, 2, 1, 2, 7])
    alone = [r2_score(target[episode == e], prediction[episode == e]) for e in (7, 3)]
    both = r2_score(target, prediction)
    assert not np.isclose(*alone)
    r2, low, high = r_squared_interval(episode, target, prediction)
    np.testing.assert_allclose([r2, low, high], [both, min(alone), max(alone)], rtol=1e-12)


def test_interval_is_a_function_of_its_seed():
    data = episodes_of_predictions(10, 5, 0)
    assert r_squared_interval(*data, seed=1) == r_squared_interval(*data, seed=1)
    assert r_squared_interval(*data, seed=1) != r_squared_interval(*data, seed=2)
    # The order of rows does not matter, only their episodes.
    order = np.random.default_rng(0).permutation(50)
    shuffled = [column[order] for column in data]
    np.testing.assert_allclose(r_squared_interval(*shuffled), r_squared_interval(*data), rtol=1e-9)


def test_interval_covers_where_one_over_rows_would_not():
    covered, covered_over_rows, trials = 0, 0, 200
    for seed in range(trials):
        episode, target, prediction = episodes_of_predictions(40, 10, seed)
        _, low, high = r_squared_interval(episode, target, prediction, num_resamples=400)
        covered += low <= TRUE_R2 <= high
        rows = np.arange(len(episode))
        _, low_rows, high_rows = r_squared_interval(rows, target, prediction, num_resamples=100)
        covered_over_rows += low_rows <= TRUE_R2 <= high_rows
        assert high - low > 1.5 * (high_rows - low_rows)
    assert 0.88 <= covered / trials <= 0.98
    assert covered_over_rows / trials < 0.7


def test_resamples_without_variance_do_not_count():
    # Every fourth resample draws only the first episode, whose targets do not vary.
    random = np.random.default_rng(0)
    episode = np.repeat([0, 1], 50)
    target = np.append(np.zeros(50), random.normal(size=50))
    prediction = target + random.normal(size=100) / 2
    r2, low, high = r_squared_interval(episode, target, prediction)
    assert r2 == pytest.approx(r2_score(target, prediction))
    assert -1 < low <= r2 <= high < 1


def test_several_outputs_are_averaged_where_they_are_known():
    random = np.random.default_rng(0)
    episode = np.repeat(np.arange(8), 5)
    target = random.normal(size=(40, 3))
    prediction = target + random.normal(size=(40, 3)) * [0.2, 1, 0.5]
    known = random.random((40, 3)) < 0.7
    target[:, 2] = 4  # does not vary
    statistic = r_squared(Groups(episode, 8), np.where(known, target, np.nan), prediction, known)
    mean, each = bootstrap(statistic, 8)
    alone = [r_squared_interval(episode, target[:, k], prediction[:, k], known[:, k])
             for k in range(2)]  # fmt: skip
    for k in range(2):
        expected = r2_score(target[known[:, k], k], prediction[known[:, k], k])
        np.testing.assert_allclose(each[k].value, expected, rtol=1e-9)
        np.testing.assert_allclose(each[k], alone[k], rtol=1e-9)
    assert np.isnan(each[2]).all()
    np.testing.assert_allclose(mean.value, (each[0].value + each[1].value) / 2, rtol=1e-12)
    assert min(x.low for x in each[:2]) < mean.low < mean.value < mean.high


def test_outputs_are_pooled_by_their_variance_elsewhere():
    random = np.random.default_rng(0)
    episode = Groups(np.repeat(np.arange(8), 5), 8)
    variance = np.array([4.0, 0.25, 9.0])
    target = random.normal(size=(40, 3)) * np.sqrt(variance)
    prediction = target + random.normal(size=(40, 3)) * [0.2, 1, 0.5]
    whole = np.ones((40, 3), bool)
    pooled, each = bootstrap(pooled_r_squared(episode, target, prediction, whole, variance), 8)
    scaled = target / np.sqrt(variance), prediction / np.sqrt(variance)
    expected = r2_score(*scaled, multioutput="variance_weighted")
    np.testing.assert_allclose(pooled.value, expected, rtol=1e-9)
    assert each == [pooled]
    assert pooled.low < pooled.value < pooled.high

    # An output that hardly varies here ruins the mean, and has little weight in the pool.
    target[:, 1] = 1e-3 * random.normal(size=40)
    prediction[:, 1] = 0.1
    mean, _ = bootstrap(r_squared(episode, target, prediction, whole), 8)
    pooled, _ = bootstrap(pooled_r_squared(episode, target, prediction, whole, variance), 8)
    assert mean.value < -1000
    assert pooled.low > 0.9

    # Two outputs by hand, one of them known at two of three rows: errors 1, 0, 0 and 2, 0.
    target = np.array([[0.0, 5], [2, 1], [4, np.nan]])
    prediction = target + [[1, 2], [0, 0], [0, 0]]
    known = np.isfinite(target)
    by_hand = 1 - (1 / 2 + 4 / 4) / (8 / 2 + 8 / 4)
    statistic = pooled_r_squared(
        Groups(np.array([0, 0, 1]), 2), target, prediction, known, np.array([2.0, 4.0])
    )
    np.testing.assert_allclose(statistic(np.array([[1, 1]])), [[by_hand]], rtol=1e-12)


def test_scores_of_any_function_of_rows():
    episode, target, prediction = episodes_of_predictions(12, 4, 0)
    group = np.unique(episode, return_inverse=True)[1]

    def function(rows):
        return [r2_score(target[rows], prediction[rows]), len(rows)]

    _, (score, count) = bootstrap(of_rows(Groups(group, 12), function), 12, num_resamples=300)
    expected = r_squared_interval(episode, target, prediction, num_resamples=300)
    np.testing.assert_allclose(score, expected, rtol=1e-9)
    assert count == (48, 48, 48)
