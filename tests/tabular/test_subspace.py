import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.tabular.exact import (
    learned_subspace,
    left_singular_vectors,
    proto_value_functions,
    successor_measure,
    uniform_policy_transition,
)
from pvn.tabular.mdp import four_rooms
from pvn.tabular.subspace import (
    best_fit_error,
    fit_error,
    principal_angle_cosines,
    project,
)


def test_cosines_by_hand() -> None:
    # The plane of x and y against the plane of x and a line 60 degrees from y.
    features = np.array([[1.0, 0], [0, 1], [0, 0]])
    tilted = np.array([[1.0, 0], [0, 0.5], [0, np.sqrt(0.75)]])
    np.testing.assert_allclose(principal_angle_cosines(features, tilted), [1, 0.5])
    np.testing.assert_allclose(project(features, tilted), [[1, 0], [0, 0.5], [0, 0]], atol=1e-15)


def test_directions_that_features_lack_have_cosine_0() -> None:
    subspace = np.eye(5)[:, :3]
    features = np.stack([subspace[:, 0], 2 * subspace[:, 0], np.zeros(5)], axis=1)
    assert principal_angle_cosines(features, subspace).tolist() == [1, 0, 0]
    assert principal_angle_cosines(np.zeros((5, 2)), subspace).tolist() == [0, 0, 0]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_cosines_do_not_depend_on_the_basis(width: int, dimension: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(9, width))
    subspace = np.linalg.qr(random.normal(size=(9, dimension)))[0]
    mixed = features @ (random.normal(size=(width, width)) + 4 * np.eye(width))
    turned = subspace @ np.linalg.qr(random.normal(size=(dimension, dimension)))[0]
    cosines = principal_angle_cosines(features, subspace)
    assert cosines.shape == (dimension,)
    assert np.all(np.diff(cosines) <= 1e-12)
    np.testing.assert_allclose(principal_angle_cosines(mixed, turned), cosines, atol=1e-8)


def test_fit_error_is_that_of_least_squares() -> None:
    random = np.random.default_rng(0)
    features, values = random.normal(size=(9, 3)), random.normal(size=(9, 5)) * [1, 2, 3, 4, 5]
    weights = np.linalg.lstsq(features, values, rcond=None)[0]
    residual = np.sum(np.square(values - features @ weights), axis=0)
    expected = np.mean(residual / np.sum(np.square(values), axis=0))
    assert fit_error(features, values) == pytest.approx(expected, rel=1e-10)


def test_no_features_fit_better_than_the_best() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(9, 5))
    unit = values / np.linalg.norm(values, axis=0, keepdims=True)
    best = left_singular_vectors(unit, 3)[0]
    assert best_fit_error(3, values) == pytest.approx(fit_error(best, values), rel=1e-10)
    for _ in range(20):
        near = best + 0.1 * random.normal(size=best.shape)
        assert fit_error(near, values) > best_fit_error(3, values)
    assert best_fit_error(5, values) == pytest.approx(0, abs=1e-12)


def test_many_random_sets_give_the_subspace() -> None:
    """The cosines 0.528, 0.846 and 0.998 (gamma 0.9, d = 8) come from independent code.

    Each is of one draw, all from one generator. With 100 sets, draws with other seeds differ by
    much more than the tolerance of 0.03.
    """
    policy = uniform_policy_transition(four_rooms(4).transition)
    successor = successor_measure(policy, 0.9)
    proto_values, _ = proto_value_functions(policy, 8)
    random = np.random.default_rng(0)
    found = []
    for count in (100, 1_000, 100_000):
        members = (random.random((68, count)) < 0.1).astype(np.float64)
        best = learned_subspace("monte_carlo", successor, members, 8)
        found.append(principal_angle_cosines(best, proto_values)[-1])
    np.testing.assert_allclose(found, [0.528, 0.846, 0.998], atol=0.03)


def test_fewer_sets_than_dimensions_miss_some() -> None:
    policy = uniform_policy_transition(four_rooms(4).transition)
    proto_values, _ = proto_value_functions(policy, 8)
    members = (np.random.default_rng(0).random((68, 5)) < 0.1).astype(np.float64)
    for loss in ("td", "monte_carlo"):
        best = learned_subspace(loss, successor_measure(policy, 0.9), members, 8)
        assert best.shape == (68, 5)
        assert principal_angle_cosines(best, proto_values)[-1] == 0
