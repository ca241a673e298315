import numpy as np
import pytest
import sklearn.linear_model

from pvn.ridge import PENALTIES, Ridge


def some_data(rows, columns, dtype, seed=0):
    """Correlated features of very different scales and offsets, and targets that depend on them."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns))
    features = mixed * 10.0 ** random.uniform(-3, 2, columns) + random.normal(size=columns)
    features = features.astype(dtype)
    weights = random.normal(size=columns) / features.std(axis=0)
    targets = features @ weights + random.normal(size=rows) + 3
    return features, targets.astype(dtype)


def oracle(features, targets, penalty):
    """scikit-learn's (weights, intercept) for the raw features, in float64."""
    features, targets = features.astype(np.float64), targets.astype(np.float64)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    model = sklearn.linear_model.Ridge(alpha=penalty * len(features), solver="svd")
    model.fit((features - mean) / scale, targets)
    weights = model.coef_ / scale
    return weights, model.intercept_ - weights @ mean


@pytest.mark.parametrize(("rows", "columns"), [(200, 7), (40, 1), (30, 50), (50, 50)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-3)])
def test_scikit_learn(rows, columns, dtype, tolerance):
    features, targets = some_data(rows, columns, dtype)
    # Rounding of float32 features causes an error of 1e-7 in the eigenvalues, which hides smaller
    # penalties. float64 tests the formula.
    penalties = np.array([1e-6, 1e-3, 0.1, 1.0, 30.0] if dtype == np.float64 else [1e-3, 0.1, 30.0])
    weights, intercepts = Ridge(features).solve(targets, penalties)
    assert weights.shape == (len(penalties), columns)
    assert intercepts.shape == (len(penalties),)
    assert weights.dtype == intercepts.dtype == np.float64
    scale = features.std(axis=0, dtype=np.float64)
    for number, penalty in enumerate(penalties):
        expected, intercept = oracle(features, targets, penalty)
        size = np.abs(expected * scale).max()
        np.testing.assert_allclose(weights[number] * scale, expected * scale, atol=tolerance * size)
        # On the raw features: y = x w + b.
        predictions = features.astype(np.float64) @ weights[number] + intercepts[number]
        np.testing.assert_allclose(
            predictions,
            features.astype(np.float64) @ expected + intercept,
            atol=tolerance * targets.std(),
        )


def test_by_hand():
    # Standardised, x is (-1, 1). The mean of x y is 3, so w = 3 / (1 + penalty).
    ridge = Ridge(np.array([[10.0], [14.0]]))
    weights, intercepts = ridge.solve(np.array([2.0, 8.0]), np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(weights[:, 0] * 2, [3, 1.5, 1], rtol=1e-12)
    np.testing.assert_allclose(intercepts + weights[:, 0] * 12, 5, rtol=1e-12)


def test_one_factorisation_serves_several_targets():
    features, targets = some_data(60, 4, np.float64)
    ridge = Ridge(features)
    first = ridge.solve(targets, PENALTIES)
    ridge.solve(np.square(targets), PENALTIES)
    for one, other in zip(first, ridge.solve(targets, PENALTIES), strict=True):
        np.testing.assert_array_equal(one, other)
    doubled = ridge.solve(2 * targets, PENALTIES)
    np.testing.assert_allclose(doubled[0], 2 * first[0], rtol=1e-9)
    for number, penalty in enumerate(PENALTIES):
        [alone], _ = ridge.solve(targets, np.array([penalty]))
        np.testing.assert_allclose(alone, first[0][number], rtol=1e-9)


@pytest.mark.parametrize("columns", [4, 90])
def test_several_targets_at_once(columns):
    features, targets = some_data(60, columns, np.float64)
    both = np.column_stack([targets, np.square(targets)])
    ridge = Ridge(features)
    for penalty in (1e-3, 1.0):
        weights, intercepts = ridge.weights(ridge.moments(both), penalty)
        for k in range(2):
            [expected], [intercept] = ridge.solve(both[:, k], np.array([penalty]))
            np.testing.assert_allclose(weights[:, k], expected, rtol=1e-9)
            np.testing.assert_allclose(intercepts[k], intercept, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_columns_get_weight_zero(dtype):
    features, targets = some_data(80, 3, dtype)
    constants = np.array([0, 1, 0.1, -1e4, 1e-20, 12345.678], dtype)
    padded = np.concatenate([features, np.broadcast_to(constants, (80, 6))], axis=1)
    weights, intercepts = Ridge(padded).solve(targets, PENALTIES)
    assert (weights[:, 3:] == 0).all()
    assert (weights[:, :3] != 0).all()
    # They do not change the other weights, at penalties larger than the rounding error.
    expected, expected_intercepts = Ridge(features).solve(targets, PENALTIES)
    rtol = 1e-9 if dtype == np.float64 else 1e-4
    large = PENALTIES > 1e-5
    np.testing.assert_allclose(weights[large, :3], expected[large], rtol=rtol)
    np.testing.assert_allclose(intercepts[large], expected_intercepts[large], rtol=rtol)


def test_only_constant_columns_predict_the_mean():
    weights, intercepts = Ridge(np.full((5, 2), 7, np.float32)).solve(
        np.array([1.0, 2, 3, 4, 10]), PENALTIES
    )
    assert (weights == 0).all()
    np.testing.assert_array_equal(intercepts, 4)


def test_rarely_active_columns_count():
    # A ReLU feature that is nearly always 0 is not constant.
    features = np.zeros((10_000, 2), np.float32)
    features[17, 0] = 1e-3
    features[:, 1] = 5
    targets = np.zeros(10_000)
    targets[17] = 2
    weights, intercepts = Ridge(features).solve(targets, np.array([1e-8]))
    np.testing.assert_allclose(features[17] @ weights[0] + intercepts[0], 2, rtol=1e-4)
    assert weights[0, 1] == 0


def test_penalties_reach_from_none_to_all():
    features, targets = some_data(500, 5, np.float64)
    weights, _ = Ridge(features).solve(targets, PENALTIES)
    assert (np.diff(PENALTIES) > 0).all()
    norms = np.linalg.norm(weights * features.std(axis=0), axis=1)
    assert (np.diff(norms) < 0).all()
    assert norms[-1] < 0.05 * norms[0]
    expected = sklearn.linear_model.LinearRegression().fit(features, targets).coef_
    np.testing.assert_allclose(weights[0], expected, rtol=1e-3)
