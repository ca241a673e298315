"""Closed forms, compared with small chains by hand and with slow sums."""

import numpy as np
import pytest

from pvn.errors import UserError
from pvn.tabular.exact import (
    exact_action_values,
    largest_dimension,
    left_singular_vectors,
    proto_value_functions,
    successor_measure,
    td_subspace,
    uniform_policy_transition,
)
from pvn.tabular.mdp import Mdp, chain, four_rooms, garnet, torus

GARNET = garnet(20, 2, 2, seed=2)


def test_successor_measure_by_hand() -> None:
    # 0 -> 1, 1 stays: from 0 one visit to 0, then gamma / (1 - gamma) to 1.
    measure = successor_measure(np.array([[0.0, 1.0], [0.0, 1.0]]), 0.5)
    np.testing.assert_allclose(measure, [[1, 1], [0, 2]], atol=1e-15)


def test_successor_measure_is_the_sum_of_discounted_powers() -> None:
    policy = uniform_policy_transition(GARNET.transition)
    total, power = np.zeros_like(policy), np.eye(20)
    for step in range(400):
        total += 0.9**step * power
        power = power @ policy
    np.testing.assert_allclose(successor_measure(policy, 0.9), total, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.0, -0.1, 1.5, float("nan")])
def test_a_discount_out_of_range(gamma: float) -> None:
    with pytest.raises(UserError, match=r"^discount: .*, expected a number in \[0, 1\)$"):
        successor_measure(np.eye(2), gamma)


def test_action_values_solve_the_bellman_equation() -> None:
    cumulants = np.random.default_rng(0).random((20, 3))
    q = exact_action_values(GARNET.transition, cumulants, 0.9)
    assert q.shape == (20, 3, 2)
    for action in range(2):
        backup = cumulants + 0.9 * GARNET.transition[action] @ q.mean(axis=2)
        np.testing.assert_allclose(q[:, :, action], backup, atol=1e-12)


def test_eigenvalues_of_a_torus_are_cosines() -> None:
    policy = uniform_policy_transition(torus(6).transition)
    basis, values = proto_value_functions(policy, 5)
    # (cos a + cos b) / 2 over multiples of 2 pi / 6: once 1, then four times (1 + 1/2) / 2.
    np.testing.assert_allclose(values, [1, 0.75, 0.75, 0.75, 0.75], atol=1e-12)
    np.testing.assert_allclose(policy @ basis, basis * values[None], atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)


def test_singular_vectors_of_a_symmetric_chain_are_its_proto_value_functions() -> None:
    policy = uniform_policy_transition(four_rooms(4).transition)
    basis, values = proto_value_functions(policy, 8)
    vectors, singular = left_singular_vectors(successor_measure(policy, 0.9), 8)
    np.testing.assert_allclose(singular, 1 / (1 - 0.9 * values), rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(basis * vectors, axis=0)), 1, atol=1e-8)


def test_top_invariant_subspace_of_a_matrix_that_is_not_symmetric() -> None:
    policy = uniform_policy_transition(GARNET.transition)
    basis, values = proto_value_functions(policy, 6)
    # Some eigenvalues are complex pairs; the subspace is real anyway.
    assert np.iscomplexobj(values)
    assert np.any(values.imag != 0)
    block = basis.T @ policy @ basis
    np.testing.assert_allclose(policy @ basis, basis @ block, atol=1e-12)
    top = np.sort(np.linalg.eigvals(policy).real)[::-1][:6]
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(block).real)[::-1], top, atol=1e-10)


@pytest.mark.parametrize("tasks", [15, 200])
@pytest.mark.parametrize("mdp", [GARNET, four_rooms(2)])
def test_td_has_no_gradient_in_its_subspace(mdp: Mdp, tasks: int) -> None:
    """The expected gradient of TD is 0 there, if the heads are at their fixed point."""
    policy = uniform_policy_transition(mdp.transition)
    successor = successor_measure(policy, 0.9)
    cumulants = (np.random.default_rng(1).random((len(policy), tasks)) < 0.3).astype(float)
    dimension = 4
    features, _ = td_subspace(successor, cumulants, dimension)
    old = np.linalg.inv(successor)  # I - gamma P
    heads = np.linalg.solve(features.T @ old @ features, features.T @ cumulants)
    error = features @ heads - (cumulants + 0.9 * policy @ features @ heads)
    np.testing.assert_allclose(features.T @ error, 0, atol=1e-9)
    np.testing.assert_allclose(error @ heads.T, 0, atol=1e-8)
    np.testing.assert_allclose(features.T @ features, np.eye(dimension), atol=1e-12)


def test_td_subspace_of_orthonormal_tasks_is_that_of_the_proto_value_functions() -> None:
    random = np.random.default_rng(0)
    for mdp, dimension in ((GARNET, 6), (four_rooms(4), 12)):
        policy = uniform_policy_transition(mdp.transition)
        tasks = np.linalg.qr(random.normal(size=policy.shape))[0]
        found, _ = td_subspace(successor_measure(policy, 0.9), tasks, dimension)
        expected, _ = proto_value_functions(policy, dimension)
        np.testing.assert_allclose(np.linalg.svd(found.T @ expected)[1], 1, atol=1e-9)


def test_no_dimension_is_unique() -> None:
    policy = uniform_policy_transition(torus(6).transition)
    with pytest.raises(UserError, match=r"^config.num_features: 5, expected 36 or more: with few"):
        largest_dimension(policy, np.eye(36), 5)


def test_left_singular_vectors_of_many_tasks_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    for tasks in (3, 9, 300):  # fewer than states; equal; many, so that the Gram matrix is used
        matrix = random.random((9, tasks))
        vectors, values = left_singular_vectors(matrix, 3)
        expected, singular, _ = np.linalg.svd(matrix)
        np.testing.assert_allclose(values, singular[:3])
        np.testing.assert_allclose(np.abs(np.sum(vectors * expected[:, :3], axis=0)), 1, atol=1e-9)


def test_the_whole_space() -> None:
    policy = uniform_policy_transition(GARNET.transition)
    assert proto_value_functions(policy, 20)[0].shape == (20, 20)
    assert left_singular_vectors(policy, 20)[0].shape == (20, 20)


@pytest.mark.parametrize("dimension", [0, 7])
def test_a_dimension_that_states_do_not_have(dimension: int) -> None:
    policy = uniform_policy_transition(chain(6).transition)
    message = rf"^config.dimension: {dimension}, expected 1 to 6 \(states\)$"
    with pytest.raises(UserError, match=message):
        proto_value_functions(policy, dimension)


def test_a_dimension_that_separates_equal_eigenvalues() -> None:
    policy = uniform_policy_transition(torus(6).transition)
    with pytest.raises(UserError) as caught:
        proto_value_functions(policy, 3)
    assert str(caught.value) == (
        "config.dimension: 3 separates equal eigenvalues (0.7500), so the top subspace is not "
        "unique; expected one of 1, 5, 9"
    )
    with pytest.raises(UserError, match="3 separates equal singular values"):
        left_singular_vectors(successor_measure(policy, 0.9), 3)


def test_a_dimension_that_separates_a_complex_pair() -> None:
    policy = uniform_policy_transition(GARNET.transition)
    with pytest.raises(UserError, match="2 separates equal eigenvalues"):
        proto_value_functions(policy, 2)


def test_the_largest_unique_dimension() -> None:
    policy = uniform_policy_transition(torus(6).transition)
    successor = successor_measure(policy, 0.9)
    assert [largest_dimension(policy, successor, most) for most in (1, 4, 5, 8, 99)] == [
        1, 1, 5, 5, 36
    ]  # fmt: skip
    policy = uniform_policy_transition(GARNET.transition)
    successor = successor_measure(policy, 0.9)
    assert largest_dimension(policy, successor, 2) == 1  # a complex pair
