"""Cumulants of mean 0 and variance 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.indicators.hashing import RandomHash
from pvn.indicators.indicator import Indicator
from pvn.indicators.random_network import RandomNetwork
from pvn.indicators.standardised import standardised
from pvn.indicators.tasks import tasks_of_states

ON_ABOVE = Indicator(
    3,
    init=lambda key, observation: ((), jnp.zeros(3)),
    response=lambda frozen, x: x,
    cumulant=lambda fitted, response: (response > fitted[None]).astype(jnp.float32),
    fit=lambda responses: np.float32([0, 1, 9]),
)


def test_by_hand() -> None:
    """The tasks are on in 2 of 4, 1 of 4 and no states."""
    states = np.float32([[1, 0, 0], [1, 2, 0], [0, 0, 0], [-1, 0, 0]])
    tasks = tasks_of_states(standardised(ON_ABOVE), jax.random.key(0), states)
    root = np.sqrt(3) / 4  # sqrt(1/4 * 3/4)
    expected = [[1, -0.25 / root, 0], [1, 0.75 / root, 0], [-1, -0.25 / root, 0]]
    expected.append(expected[2])
    np.testing.assert_allclose(tasks.cumulants(states), expected, rtol=1e-6)
    assert tasks.activations(tasks.fitted).mean(axis=0).tolist() == [0.5, 0.25, 0]
    raw = tasks_of_states(ON_ABOVE, jax.random.key(0), states)
    np.testing.assert_array_equal(raw.activations(raw.fitted), raw.cumulants(states))


def test_rare_tasks_are_scaled_like_those_of_one_percent() -> None:
    states = np.zeros((10_000, 3), np.float32)
    states[:2, 0], states[:400, 1] = 1, 2
    tasks = tasks_of_states(standardised(ON_ABOVE), jax.random.key(0), states)
    cumulants = tasks.cumulants(states)
    assert cumulants[0, 0] == pytest.approx((1 - 0.0002) / np.sqrt(0.01 * 0.99), rel=1e-5)
    assert cumulants[:, 1].std() == pytest.approx(1, rel=1e-4)
    real = ON_ABOVE._replace(cumulant=lambda fitted, response: response)
    wide = tasks_of_states(standardised(real), jax.random.key(0), 0.01 * states)
    assert wide.cumulants(0.01 * states)[:, 0].std() == pytest.approx(1, rel=1e-3)


def test_a_family_without_fitted_parameters() -> None:
    states = np.random.default_rng(0).integers(0, 256, (400, 4, 4, 1), dtype=np.uint8)
    family = standardised(RandomHash(proportion=0.3).indicator(5))
    tasks = tasks_of_states(family, jax.random.key(0), states)
    assert tasks.responses is not None
    cumulants = tasks.cumulants(tasks.responses)
    np.testing.assert_allclose(cumulants.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(cumulants.std(axis=0), 1, atol=1e-5)


def test_what_cannot_be_standardised() -> None:
    moves = RandomNetwork(threshold_from="quantile_regression").indicator(3)
    with pytest.raises(UserError, match="cumulants: standardised, expected raw where"):
        standardised(moves)
    with pytest.raises(UserError, match="expected raw for an indicator with fitted parameters"):
        standardised(ON_ABOVE._replace(fit=None)).init(jax.random.key(0), jnp.zeros((1, 3)))
