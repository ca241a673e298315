import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.learning.losses import regression_loss, td_target


def test_target_by_hand() -> None:
    cumulant = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    discount = jnp.array([1.0, 0.0])  # the second transition ended the game
    value = jnp.array([[3.0, 1.0], [4.0, 9.0]])
    target = jax.jit(td_target, static_argnums=3)(cumulant, discount, value, 0.5)
    np.testing.assert_allclose(target, [[1 + 0.5 * 3, 0.5 * 1], [0, 1]])


def test_loss_and_gradient_by_hand() -> None:
    q = jnp.array([[1.0, 2.0], [1.0, 3.0]])
    target = jnp.array([[3.0, 2.0], [1.0, 0.0]])
    loss, gradient = jax.jit(jax.value_and_grad(regression_loss))(q, target)
    # Errors target - q: 2, 0; 0, -3.
    assert float(loss) == 0.5 * (4 + 9) / 4
    np.testing.assert_allclose(gradient, [[-2 / 4, 0], [0, 3 / 4]])


def test_no_gradient_through_the_target() -> None:
    q = jnp.ones((1, 1))
    gradient = jax.grad(lambda x: regression_loss(q, x))(jnp.array([[5.0]]))
    assert float(gradient[0, 0]) == 0


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (regression_loss, (jnp.ones((2, 3)), jnp.ones((2, 1)))),
        (regression_loss, (jnp.ones((2, 3, 4)), jnp.ones((2, 3, 4)))),
        (td_target, (jnp.ones((2, 3)), jnp.ones((2, 1)), jnp.ones((2, 3)), 0.5)),
        (td_target, (jnp.ones((2, 3)), jnp.ones(3), jnp.ones((2, 3)), 0.5)),
    ],
)
def test_wrong_shapes_are_refused(function, arguments) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError):
        function(*arguments)
