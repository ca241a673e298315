import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.learning.losses import TARGET_POLICIES, regression_loss, td_target

# B = 2, T = 2, A = 3.
Q_T = jnp.array([[[1.0, 2.0, 6.0], [0.0, 3.0, 0.0]], [[4.0, 4.0, 4.0], [9.0, 9.0, 9.0]]])
A_T = jnp.array([2, 0])


def test_target_by_hand() -> None:
    cumulant = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    discount = jnp.array([1.0, 0.0])  # the second transition ended the game
    uniform = TARGET_POLICIES["uniform"](Q_T, A_T)
    np.testing.assert_allclose(uniform, [[3, 1], [4, 9]])
    target = jax.jit(td_target, static_argnums=3)(cumulant, discount, uniform, 0.5)
    np.testing.assert_allclose(target, [[1 + 0.5 * 3, 0.5 * 1], [0, 1]])


def test_behaviour_takes_the_next_action() -> None:
    np.testing.assert_allclose(TARGET_POLICIES["behaviour"](Q_T, A_T), [[6, 0], [4, 9]])


def test_loss_and_gradient_by_hand() -> None:
    q = jnp.array([[[1.0, 5.0], [2.0, 7.0]], [[0.0, 1.0], [3.0, 3.0]]])
    action = jnp.array([0, 1])
    target = jnp.array([[3.0, 2.0], [1.0, 0.0]])
    loss, gradient = jax.jit(jax.value_and_grad(regression_loss))(q, action, target)
    # Errors target - q(s, a): 2, 0; 0, -3.
    assert float(loss) == 0.5 * (4 + 9) / 4
    expected = np.zeros((2, 2, 2))
    expected[0, 0, 0], expected[1, 1, 1] = -2 / 4, 3 / 4
    np.testing.assert_allclose(gradient, expected)


def test_no_gradient_through_the_target() -> None:
    q = jnp.ones((1, 1, 1))
    gradient = jax.grad(lambda x: regression_loss(q, jnp.array([0]), x))(jnp.array([[5.0]]))
    assert float(gradient[0, 0]) == 0


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (regression_loss, (jnp.ones((2, 3, 4)), jnp.zeros(2, int), jnp.ones((2, 3, 1)))),
        (regression_loss, (jnp.ones((2, 3, 4)), jnp.zeros(2, int), jnp.ones((2, 4)))),
        (td_target, (jnp.ones((2, 3)), jnp.ones((2, 1)), jnp.ones((2, 3)), 0.5)),
        (td_target, (jnp.ones((2, 3)), jnp.ones(3), jnp.ones((2, 3)), 0.5)),
        (TARGET_POLICIES["uniform"], (jnp.ones((2, 3)), jnp.zeros(2, int))),
        (TARGET_POLICIES["behaviour"], (jnp.ones((2, 3, 4)), jnp.zeros(3, int))),
    ],
)
def test_wrong_shapes_are_refused(function, arguments) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError):
        function(*arguments)
