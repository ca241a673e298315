import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from pvn.evaluation.values import C51, VALUES, ActionValue, HlGauss, project


def test_the_squared_error_by_hand():
    kind = ActionValue()
    assert kind.num_outputs == 1
    assert kind.values(jnp.array([[[1.0], [2.0]]])).tolist() == [[1, 2]]
    losses = kind.losses(
        jnp.array([[1.0], [2.0]]),
        jnp.array([[4.0], [9.0]]),
        jnp.array([1.0, 1]),
        jnp.array([0.5, 0]),
    )
    assert losses.tolist() == [0.5 * (1 + 2 - 1) ** 2, 0.5 * (1 - 2) ** 2]


def test_the_huber_loss_by_hand():
    kind = ActionValue(huber_delta=2.0)
    error = jnp.array([0.5, -2.0, 5.0, -5.0])
    assert kind.loss(error).tolist() == [0.125, 2, 2 * 5 - 2, 2 * 5 - 2]
    slope = jax.vmap(jax.grad(kind.loss))(error)
    assert slope.tolist() == [0.5, -2, 2, -2]
    # The target is 1 + 0.5 * 18, the value 5.
    one = [jnp.array([x]) for x in ([5.0], [18.0], 1.0, 0.5)]
    assert kind.losses(*one).tolist() == [2 * 5 - 2]


def test_projection_by_hand():
    atoms = jnp.array([-1.0, 0, 1])
    moved = project(jnp.array([[0.25, -3.0, 1.0]]), jnp.array([[0.4, 0.1, 0.5]]), atoms)
    # 0.25 lies a quarter of the way from 0 to 1; -3 is clipped to -1.
    np.testing.assert_allclose(moved, [[0.1, 0.4 * 0.75, 0.4 * 0.25 + 0.5]], rtol=1e-6)


def test_projection_keeps_mass_and_mean():
    random = np.random.default_rng(0)
    atoms = jnp.linspace(-10, 10, 51)
    values = random.uniform(-10, 10, (20, 51)).astype(np.float32)
    mass = random.dirichlet(np.ones(51), 20).astype(np.float32)
    moved = project(values, mass, atoms)
    np.testing.assert_allclose(moved.sum(axis=1), np.ones(20), rtol=1e-5)
    np.testing.assert_allclose(moved @ atoms, np.sum(values * mass, axis=1), atol=1e-4)


def test_the_categorical_loss_by_hand():
    kind = C51(num_atoms=3, max_value=1.0)
    outputs_tm1 = jnp.log(jnp.array([[0.2, 0.3, 0.5]]))
    outputs_t = jnp.log(jnp.array([[0.25, 0.5, 0.25]]))
    np.testing.assert_allclose(kind.values(outputs_tm1), [0.3], rtol=1e-5)
    # The atoms -1, 0, 1 move to 0, 0.25, 0.5.
    target = np.array([0, 0.25 + 0.5 * 0.75 + 0.25 * 0.5, 0.5 * 0.25 + 0.25 * 0.5])
    loss = kind.losses(outputs_tm1, outputs_t, jnp.array([0.25]), jnp.array([0.25]))
    np.testing.assert_allclose(loss, [-np.sum(target * np.log([0.2, 0.3, 0.5]))], rtol=1e-5)
    # Where the game ended, all mass is at the reward.
    loss = kind.losses(outputs_tm1, outputs_t, jnp.array([1.0]), jnp.array([0.0]))
    np.testing.assert_allclose(loss, [-np.log(0.5)], rtol=1e-5)


def test_the_histogram_is_that_of_a_gaussian():
    kind = HlGauss(num_bins=5, max_value=5.0, width=0.75)  # bins of width 2
    edges = np.linspace(-5, 5, 6)
    for value in (0.3, -4.9, 7.0):
        inside = np.clip(value, -5, 5)
        mass = np.diff(norm.cdf(edges, inside, 1.5))
        expected = mass / mass.sum()
        found = kind.histogram(jnp.array([value]))
        np.testing.assert_allclose(found, [expected], atol=1e-6)
    # Away from the limits the mean of the bins' centres is the value.
    wide = HlGauss(num_bins=51, max_value=10.0)
    recovered = wide.values(jnp.log(wide.histogram(jnp.array([-6.0, 0.123, 5.5])) + 1e-30))
    np.testing.assert_allclose(recovered, [-6, 0.123, 5.5], atol=1e-3)


@pytest.mark.parametrize("kind", [ActionValue(), C51(), HlGauss()])
def test_the_gradient_is_that_of_the_trained_outputs_alone(kind):
    random = np.random.default_rng(0)
    tm1, t = (random.normal(size=(4, kind.num_outputs)).astype(np.float32) for _ in range(2))
    reward, discount = np.ones(4, np.float32), np.full(4, 0.9, np.float32)
    assert kind.values(tm1).shape == (4,)

    def loss(tm1, t):
        return kind.losses(tm1, t, reward, discount).sum()

    own, other = jax.grad(loss, argnums=(0, 1))(tm1, t)
    assert np.any(own)
    if isinstance(kind, ActionValue | HlGauss):
        assert not np.any(other)
    assert VALUES["value"] is ActionValue
