import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.indicators.threshold import empirical_bias, indicator, quantile_loss


def test_quantile_loss_by_hand() -> None:
    # p = 0.25, u = response + bias: [1, -2; -1, 2], weights (0.75, 0.75 - 1, ...).
    response = jnp.array([[0.5, -1.0], [-1.5, 3.0]])
    bias = jnp.array([0.5, -1.0])
    expected = (1 * 0.75 + -2 * -0.25 + -1 * -0.25 + 2 * 0.75) / 4
    assert jax.jit(quantile_loss, static_argnums=2)(bias, response, 0.25) == pytest.approx(expected)


def test_gradient_of_quantile_loss_is_zero_at_the_quantile() -> None:
    response = jnp.arange(100.0)[:, None]
    gradient = jax.grad(lambda bias: quantile_loss(bias, response, 0.1))
    # The derivative is (1 - p) - P(u < 0): below, at and above the 90 % quantile.
    assert gradient(jnp.array([-79.5]))[0] == pytest.approx(0.1, abs=1e-6)
    assert gradient(jnp.array([-89.5]))[0] == pytest.approx(0.0, abs=1e-6)
    assert gradient(jnp.array([-94.5]))[0] == pytest.approx(-0.05, abs=1e-6)


def test_quantile_regression_reaches_the_proportion() -> None:
    random = np.random.default_rng(0)
    responses = random.normal(size=(4096, 5)).astype(np.float32) * 0.01 + random.normal(size=5)
    responses = responses.astype(np.float32)
    optimizer = optax.adam(1e-3)
    bias = jnp.zeros(5)
    state = optimizer.init(bias)

    @jax.jit
    def step(bias: jax.Array, state: optax.OptState, batch: jax.Array) -> tuple:
        updates, state = optimizer.update(jax.grad(quantile_loss)(bias, batch, 0.05), state)
        return optax.apply_updates(bias, updates), state

    for _ in range(6000):
        bias, state = step(bias, state, responses[random.integers(4096, size=256)])
    rates = np.asarray(indicator(bias, responses)).mean(axis=0)
    np.testing.assert_allclose(rates.mean(), 0.05, rtol=0.1)


def test_empirical_bias_by_hand() -> None:
    # Two of ten on: between 7 and 8.
    responses = np.arange(10, dtype=np.float32)[:, None]
    assert empirical_bias(responses, 0.2) == pytest.approx([-7.5])


def test_ties_take_the_nearest_attainable_rate() -> None:
    # Wanted 2 of 10. The largest value occurs 3 times, one too many; the next lower rate is 0.
    tied = np.array([0, 1, 2, 3, 4, 5, 6, 9, 9, 9], np.float32)[:, None]
    assert np.sum(np.asarray(indicator(jnp.array(empirical_bias(tied, 0.2)), tied))) == 3
    # It occurs 5 times: three too many, or with 0 two too few.
    tied = np.array([0, 1, 2, 3, 4, 9, 9, 9, 9, 9], np.float32)[:, None]
    assert np.sum(np.asarray(indicator(jnp.array(empirical_bias(tied, 0.2)), tied))) == 0
    constant = np.full((10, 1), 3, np.float32)
    assert np.ptp(np.asarray(indicator(jnp.array(empirical_bias(constant, 0.2)), constant))) == 0


@pytest.mark.parametrize("size", [2.0**24, -(2.0**25), 1e30])
def test_all_states_or_none_at_any_size(size: float) -> None:
    responses = np.full((4, 1), size, np.float32)
    for proportion, on in ((0.9, 1), (0.1, 0)):
        bias = jnp.array(empirical_bias(responses, proportion))
        assert np.all(np.asarray(indicator(bias, responses)) == on)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
)
def test_no_other_threshold_is_nearer_to_the_proportion(column: list[float], p: float) -> None:
    values = np.array(column, np.float32)
    # Subnormal sums may be flushed to zero; pixels never give subnormal responses.
    values = np.round(values, 3)
    bias = empirical_bias(values[:, None], p)
    wanted = round(p * len(values))
    got = int(np.sum(values[:, None] + bias > 0))
    attainable = {int(np.sum(values > v)) for v in values} | {len(values)}
    assert abs(got - wanted) == min(abs(a - wanted) for a in attainable)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(AssertionError):
        quantile_loss(jnp.zeros(3), jnp.zeros((4, 2)), 0.1)
    with pytest.raises(AssertionError):
        quantile_loss(jnp.zeros(()), jnp.zeros((4, 2)), 0.1)
    with pytest.raises(AssertionError):
        empirical_bias(np.zeros(4, np.float32), 0.1)
