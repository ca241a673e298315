import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from pvn.evaluation.gram import GroupRidges, ReplayMoments, add_rows, zero_moments

PENALTIES = np.array([1e-6, 0.01, 3.0])


def some_rows(rows=400, columns=6, groups=3, seed=0):
    """Features of different scales, correlated; rows of group -1 belong to none."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns))
    features = mixed * 10.0 ** np.arange(-2, columns - 2) + 5
    group = random.integers(-1, groups, rows)
    features[group == 0] *= 0.5
    return features.astype(np.float32), group, random.normal(size=rows) + features[:, 0]


def factorised(features, group, groups=3):
    moments = zero_moments(groups, features.shape[1])
    add_rows(moments, features, group)
    return GroupRidges(moments)


def moment_of(ridges, features, group, targets, g):
    z = features.astype(np.float64)
    ridges.standardise(z)
    z, y = z[group == g], targets[group == g]
    return (z - z.mean(0)).T @ (y - y.mean()) / len(y), y.mean(), z


def test_scikit_learns_ridge_on_features_that_all_groups_standardise():
    features, group, targets = some_rows()
    scaler = StandardScaler().fit(features[group >= 0].astype(np.float64))
    ridges = factorised(features, group)
    for g in range(3):
        rows = group == g
        moment, mean, _ = moment_of(ridges, features, group, targets, g)
        weights, intercepts = ridges.solve(g, moment, mean, PENALTIES)
        for p, penalty in enumerate(PENALTIES):
            oracle = Ridge(alpha=penalty * rows.sum(), solver="svd")
            oracle.fit(scaler.transform(features[rows].astype(np.float64)), targets[rows])
            np.testing.assert_allclose(weights[p], oracle.coef_, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(intercepts[p], oracle.intercept_, rtol=1e-6)


def test_a_prior_against_a_direct_solve():
    features, group, targets = some_rows()
    ridges = factorised(features, group)
    prior = np.random.default_rng(1).normal(size=6)
    moment, mean, z = moment_of(ridges, features, group, targets, 1)
    weights, intercepts = ridges.solve(1, moment, mean, PENALTIES, prior)
    centred = z - z.mean(0)
    for p, penalty in enumerate(PENALTIES):
        system = centred.T @ centred / len(z) + penalty * np.eye(6)
        np.testing.assert_allclose(
            weights[p], np.linalg.solve(system, moment + penalty * prior), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(intercepts[p], mean - z.mean(0) @ weights[p], rtol=1e-9)
    heavy, _ = ridges.solve(1, moment, mean, np.array([1e9]), prior)
    np.testing.assert_allclose(heavy[0], prior, rtol=1e-6)


def test_raw_and_standardised_heads_give_the_same_values():
    features, group, _ = some_rows()
    features[:, 4] = 7.0
    ridges = factorised(features, group)
    z = features.astype(np.float64)
    ridges.standardise(z)
    assert not z[:, 4].any()
    random = np.random.default_rng(2)
    kernel, bias = random.normal(size=(2, 6, 3)), random.normal(size=(2, 3))
    raw = ridges.to_raw(kernel, bias)
    for h in range(2):
        np.testing.assert_allclose(
            z @ kernel[h] + bias[h], features @ raw[0][h] + raw[1][h], rtol=1e-8, atol=1e-8
        )
        back = ridges.from_raw(kernel, bias)
        np.testing.assert_allclose(
            z @ back[0][h] + back[1][h], features @ kernel[h] + bias[h], rtol=1e-6, atol=1e-5
        )


def test_a_feature_that_does_not_vary_gets_weight_zero():
    features, group, targets = some_rows()
    features[:, 2] = 3.0
    ridges = factorised(features, group)
    moment, mean, _ = moment_of(ridges, features, group, targets, 0)
    weights, _ = ridges.solve(0, moment, mean, PENALTIES)
    np.testing.assert_allclose(weights[:, 2], 0, atol=1e-10)
    raw, _ = ridges.to_raw(weights.T, np.zeros(3))
    assert not raw[2].any()
    assert raw[[0, 1, 3, 4, 5]].all()


@pytest.mark.parametrize("num_envs", [3, 100])
def test_moments_have_the_same_bits_however_often_they_are_updated(num_envs):
    length = 13_000 // num_envs
    random = np.random.default_rng(0)
    features = random.normal(size=(length, num_envs, 4)).astype(np.float32)
    group = random.integers(-1, 2, (length, num_envs))
    often = ReplayMoments(2, 4, num_envs)
    for end in sorted({*random.integers(1, length, 15).tolist(), length}):
        shown = group[:end].copy()
        shown[-1] = -1  # the last timestep cannot be used yet
        found = often.update(0, features[:end], shown)
    once = ReplayMoments(2, 4, num_envs).update(0, features, shown)
    x = features.reshape(-1, 4).astype(np.float64)
    for g in range(2):
        rows = x[shown.reshape(-1) == g]
        assert found.number[g] == len(rows)
        np.testing.assert_allclose(found.total[g], rows.sum(0), rtol=1e-10)
        np.testing.assert_allclose(found.square[g], rows.T @ rows, rtol=1e-10, atol=1e-9)
    for one, other in zip(found, once, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_were_overwritten_leave_the_moments():
    random = np.random.default_rng(0)
    features = random.normal(size=(9_000, 1, 2)).astype(np.float32)
    group = np.zeros((9_000, 1), int)
    kept = ReplayMoments(1, 2, 1)
    for first, end in ((0, 8_000), (100, 8_100), (4_500, 9_000)):
        found = kept.update(first, features[first:end], group[first:end])
        x = features[first:end, 0].astype(np.float64)
        assert found.number[0] == len(x)
        np.testing.assert_allclose(found.square[0], x.T @ x, rtol=1e-10)
        anew = ReplayMoments(1, 2, 1).update(first, features[first:end], group[first:end])
        np.testing.assert_array_equal(found.square, anew.square)
