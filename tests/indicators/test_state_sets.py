import jax
import numpy as np

from pvn.indicators.state_sets import random_sets, state_equality
from tests.observations import EXAMPLE


def test_state_equality_is_on_in_one_state_each() -> None:
    tasks = state_equality(4)
    frozen, fitted = tasks.init(jax.random.key(0), EXAMPLE)
    on = tasks.cumulant(fitted, tasks.response(frozen, np.eye(4, dtype=np.float32)))
    np.testing.assert_array_equal(on, np.eye(4))


def test_random_sets() -> None:
    tasks = random_sets(num_states=50, num_tasks=2000, proportion=0.1)
    frozen, fitted = tasks.init(jax.random.key(0), EXAMPLE)
    states = np.eye(50, dtype=np.float32)
    on = np.asarray(tasks.cumulant(fitted, tasks.response(frozen, states)))
    assert set(np.unique(on)) == {0, 1}
    # 100,000 independent draws: standard error 0.001 over all, 0.007 for a state.
    assert abs(on.mean() - 0.1) < 0.005
    np.testing.assert_allclose(on.mean(axis=1), 0.1, atol=0.035)
    covariance = np.cov(on)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=0.012)
    other = tasks.init(jax.random.key(1), EXAMPLE)[0]
    assert not np.array_equal(frozen, other)


def test_a_distribution_over_states_gives_the_expected_response() -> None:
    tasks = random_sets(num_states=4, num_tasks=5, proportion=0.5)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    mixed = np.array([[0.25, 0.75, 0, 0]], np.float32)
    np.testing.assert_allclose(
        tasks.response(frozen, mixed)[0], 0.25 * frozen[0] + 0.75 * frozen[1], rtol=1e-6
    )
