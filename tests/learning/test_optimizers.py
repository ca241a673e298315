import jax.numpy as jnp
import pytest

from pvn.learning.optimizers import learning_rate_scale, make_optimizer


def test_learning_rate_at_the_published_batch() -> None:
    assert 6.25e-5 * learning_rate_scale(256, 0.25) == pytest.approx(1.0511e-4, rel=1e-4)


def test_learning_rate_below_a_batch_of_32_is_not_zero() -> None:
    assert learning_rate_scale(2, 0.25) == 0.5
    assert learning_rate_scale(32, 0.25) == 1.0


def test_clipping_to_the_global_norm() -> None:
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    for limit, scale in ((1.0, 0.2), (10.0, 1.0), (0.0, 1.0)):
        sgd = make_optimizer("sgd", learning_rate=1.0, epsilon=1e-8, max_gradient_norm=limit)
        updates, _ = sgd.update(gradient, sgd.init(gradient))
        assert float(updates["a"][0]) == pytest.approx(-3 * scale)
        assert float(updates["b"][0]) == pytest.approx(-4 * scale)


def test_the_learning_rate_rises_over_the_warm_up() -> None:
    gradient = jnp.array([1.0])
    for warmup, expected in ((0, [2, 2, 2, 2, 2, 2]), (4, [0.5, 1, 1.5, 2, 2, 2]), (1, [2] * 6)):
        sgd = make_optimizer(
            "sgd", learning_rate=2.0, epsilon=1e-8, max_gradient_norm=0.0, warmup=warmup
        )
        state, rates = sgd.init(gradient), []
        for _ in range(6):
            updates, state = sgd.update(gradient, state)
            rates.append(-float(updates[0]))
        assert rates == expected


def test_epsilon_reaches_adam() -> None:
    adam = make_optimizer("adam", learning_rate=1.0, epsilon=1.0, max_gradient_norm=0.0)
    gradient = jnp.array([1.0])
    updates, _ = adam.update(gradient, adam.init(gradient))
    assert float(updates[0]) == pytest.approx(-1 / (1 + 1), rel=1e-5)
