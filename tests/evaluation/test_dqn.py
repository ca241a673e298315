import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.evaluation.dqn import action_values, double_q_loss, make_dqn, zero_head
from pvn.types import Interaction

SETTINGS = {
    "num_features": 3,
    "num_actions": 4,
    "learning_rate": 0.05,
    "adam_epsilon": 1e-4,
    "max_gradient_norm": 10.0,
    "target_period": 3,
}


def some_batches(count, batch_size, seed=0):
    """[K, B, ...]."""
    random = np.random.default_rng(seed)
    size = (count, batch_size)
    return Interaction(
        features_tm1=random.normal(size=(*size, 3)).astype(np.float32),
        a_tm1=random.integers(4, size=size).astype(np.int32),
        r_t=random.normal(size=size, scale=3).astype(np.float32),
        discount_t=random.choice([0, 0.9], size=size).astype(np.float32),
        features_t=random.normal(size=(*size, 3)).astype(np.float32),
    )


def part(batches, where):
    return jax.tree.map(lambda x: x[where], batches)


def test_action_values_by_hand():
    head = {"kernel": jnp.array([[1.0, 2], [10, 20]]), "bias": jnp.array([100.0, 200])}
    values = action_values(head, jnp.array([[1.0, 1], [0, 0], [2, -1]]))
    assert values.tolist() == [[111, 222], [100, 200], [92, 184]]
    assert jax.tree.map(jnp.shape, zero_head(7, 3)) == {"kernel": (7, 3), "bias": (3,)}
    assert not any(x.any() for x in zero_head(7, 3).values())


ONLINE = {"kernel": jnp.array([[1.0, 3, 2], [1, 0, 2]]), "bias": jnp.array([0.0, 1, -1])}
TARGET = {"kernel": jnp.array([[5.0, -1, 2], [0, 2, 4]]), "bias": jnp.array([2.0, 0, 1])}
BATCH = Interaction(
    features_tm1=jnp.array([[1.0, 1], [2, 0]]),
    a_tm1=jnp.array([2, 0]),
    r_t=jnp.array([3.0, -1]),
    discount_t=jnp.array([0.5, 0]),
    features_t=jnp.array([[1.0, 0], [7, 7]]),
)
# First: online values at s' are (1, 4, 1), so the best action is 1, which the target network
# values -1; its own best would be action 0, valued 7. Target 3 + 0.5 * -1 = 2.5, value of
# action 2 at s is 2 + 2 - 1 = 3. Second: the game is over, target -1, value 2.
ERRORS = [2.5 - 3, -1 - 2]


def test_loss_by_hand():
    online, target = (
        action_values(ONLINE, BATCH.features_t),
        action_values(TARGET, BATCH.features_t),
    )
    assert online[0].tolist() == [1, 4, 1]
    assert target[0].tolist() == [7, -1, 3]
    loss = jax.jit(double_q_loss)(ONLINE, TARGET, BATCH)
    assert float(loss) == 0.5 * (ERRORS[0] ** 2 + ERRORS[1] ** 2) / 2


def test_gradient_by_hand():
    # Only of the value of the action taken: -error * features / B; no gradient of the target.
    gradient = jax.jit(jax.grad(double_q_loss, argnums=(0, 1)))(ONLINE, TARGET, BATCH)
    kernel = np.zeros((2, 3))
    kernel[:, 2] = -ERRORS[0] * np.array([1, 1]) / 2
    kernel[:, 0] = -ERRORS[1] * np.array([2, 0]) / 2
    np.testing.assert_array_equal(gradient[0]["kernel"], kernel)
    np.testing.assert_array_equal(gradient[0]["bias"], [-ERRORS[1] / 2, 0, -ERRORS[0] / 2])
    assert not any(x.any() for x in gradient[1].values())


def slow_dqn(batches, settings):
    """The heads after each update, in float64: loss, clipping and Adam written out."""
    kernel = np.zeros((settings["num_features"], settings["num_actions"]))
    head = np.concatenate([kernel, np.zeros((1, settings["num_actions"]))])  # the last row: bias
    target, first, second = head, np.zeros_like(head), np.zeros_like(head)
    heads, targets, losses, norms = [], [], [], []
    for number in range(1, len(batches.r_t) + 1):
        batch = part(batches, number - 1)
        size = len(batch.r_t)
        x, later = (
            np.concatenate([f, np.ones((size, 1))], axis=1)
            for f in (batch.features_tm1, batch.features_t)
        )
        gradient, loss = np.zeros_like(head), 0.0
        for b in range(size):
            best = np.argmax(later[b] @ head)
            goal = batch.r_t[b] + batch.discount_t[b] * (later[b] @ target[:, best])
            action = batch.a_tm1[b]
            error = goal - x[b] @ head[:, action]
            gradient[:, action] -= error * x[b] / size
            loss += 0.5 * error**2 / size
        norm = np.sqrt(np.sum(np.square(gradient)))
        gradient = gradient * min(1, settings["max_gradient_norm"] / norm)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * np.square(gradient)
        step = first / (1 - 0.9**number)
        step = step / (np.sqrt(second / (1 - 0.999**number)) + settings["adam_epsilon"])
        head = head - settings["learning_rate"] * step
        if number % settings["target_period"] == 0:
            target = head
        heads.append(head)
        targets.append(target)
        losses.append(loss)
        norms.append(norm)
    return heads, targets, losses, norms


def as_array(head):
    return np.concatenate([head["kernel"], head["bias"][None]])


def test_training_is_that_of_a_slow_reference():
    settings = SETTINGS | {"max_gradient_norm": 1.0}
    batches = some_batches(25, 8)
    heads, targets, losses, norms = slow_dqn(batches, settings)
    assert 5 < np.sum(np.array(norms) > 1) < 25  # some are clipped, some are not
    state, update = make_dqn(**settings)
    for number in range(25):
        state, loss = update(state, part(batches, slice(number, number + 1)))
        np.testing.assert_allclose(as_array(state.head), heads[number], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(
            as_array(state.target_head), targets[number], rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(loss, losses[number], rtol=1e-3)
    assert int(state.updates) == 25


@pytest.mark.parametrize("count", [1, 2, 7])
def test_batches_in_one_call_are_so_many_calls(count):
    batches = some_batches(count, 4)
    start, update = make_dqn(**SETTINGS)
    together, mean_loss = update(start, batches)
    one, losses = start, []
    for number in range(count):
        one, loss = update(one, part(batches, slice(number, number + 1)))
        losses.append(float(loss))
    np.testing.assert_allclose(mean_loss, np.mean(losses), rtol=1e-6)
    assert int(together.updates) == int(one.updates) == count
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), together, one)


def test_target_period():
    batches = some_batches(7, 4)
    state, update = make_dqn(**SETTINGS)
    heads = [state.head]
    for number in range(7):
        state, _ = update(state, part(batches, slice(number, number + 1)))
        heads.append(state.head)
        assert not np.array_equal(heads[-1]["kernel"], heads[-2]["kernel"])
        copied = heads[3 * ((number + 1) // 3)]  # the head after update 0, 3 or 6
        jax.tree.map(np.testing.assert_array_equal, state.target_head, copied)


@pytest.mark.parametrize(("reward", "scale"), [(100.0, 10 / np.sqrt(10)), (2.0, 2.0)])
def test_the_gradient_is_clipped(reward, scale):
    # One interaction at features (3): the gradient is -reward (3, 1), its norm reward sqrt(10).
    # Adam's first step is learning_rate * g / (|g| + epsilon), and a large epsilon shows g.
    batch = Interaction(
        features_tm1=np.array([[[3]]], np.float32),
        a_tm1=np.array([[0]], np.int32),
        r_t=np.array([[reward]], np.float32),
        discount_t=np.array([[0]], np.float32),
        features_t=np.array([[[0]]], np.float32),
    )
    settings = SETTINGS | {"num_features": 1, "num_actions": 1, "adam_epsilon": 5.0}
    state, update = make_dqn(**settings)
    state, loss = update(state, batch)
    gradient = scale * np.array([3, 1])
    expected = 0.05 * gradient / (gradient + 5)
    moved = [float(state.head["kernel"][0, 0]), float(state.head["bias"][0])]
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    assert float(loss) == 0.5 * reward**2


def test_the_first_state_is_left_alone():
    start, update = make_dqn(**SETTINGS)
    update(start, some_batches(4, 4))
    assert int(start.updates) == 0
    jax.tree.map(np.testing.assert_array_equal, start.head, zero_head(3, 4))
    jax.tree.map(np.testing.assert_array_equal, start.target_head, zero_head(3, 4))
