import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.evaluation import dqn
from pvn.evaluation.dqn import (
    DqnLearner,
    DqnSettings,
    double_q_loss,
    init_state,
    largest_loss,
)
from pvn.evaluation.head import LinearHead, q_values, zero_head
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.replay import FeatureReplay
from pvn.types import Interaction

SETTINGS = DqnSettings(
    update_every=1,
    learning_rate=0.05,
    adam_epsilon=1e-4,
    max_gradient_norm=10.0,
    target_period=3,
)


def update(state, batches, settings=SETTINGS):
    return dqn.update(state, batches, settings)


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


ONLINE = LinearHead(jnp.array([[1.0, 3, 2], [1, 0, 2]]), jnp.array([0.0, 1, -1]))
TARGET = LinearHead(jnp.array([[5.0, -1, 2], [0, 2, 4]]), jnp.array([2.0, 0, 1]))
BATCH = Interaction(
    features_tm1=jnp.array([[1.0, 1], [2, 0]]),
    a_tm1=jnp.array([2, 0]),
    r_t=jnp.array([3.0, -1]),
    discount_t=jnp.array([0.5, 0]),
    features_t=jnp.array([[1.0, 0], [7, 7]]),
)
# First: the online values at s' are (1, 4, 1), so the best action is 1. Its value in the target
# network is -1; the target network's own best action is 0, with value 7. The target is
# 3 + 0.5 * -1 = 2.5. The value of action 2 at s is 2 + 2 - 1 = 3. Second: the game ended, so the
# target is -1; the value is 2.
ERRORS = [2.5 - 3, -1 - 2]


def test_loss_by_hand():
    assert q_values(ONLINE, BATCH.features_t)[0].tolist() == [1, 4, 1]
    assert q_values(TARGET, BATCH.features_t)[0].tolist() == [7, -1, 3]
    loss = jax.jit(double_q_loss)(ONLINE, TARGET, BATCH)
    assert float(loss) == 0.5 * (ERRORS[0] ** 2 + ERRORS[1] ** 2) / 2


def test_gradient_by_hand():
    # Only the value of the taken action has a gradient, -error * features / B; the target has none.
    gradient = jax.jit(jax.grad(double_q_loss, argnums=(0, 1)))(ONLINE, TARGET, BATCH)
    kernel = np.zeros((2, 3))
    kernel[:, 2] = -ERRORS[0] * np.array([1, 1]) / 2
    kernel[:, 0] = -ERRORS[1] * np.array([2, 0]) / 2
    np.testing.assert_array_equal(gradient[0].kernel, kernel)
    np.testing.assert_array_equal(gradient[0].bias, [-ERRORS[1] / 2, 0, -ERRORS[0] / 2])
    assert not any(x.any() for x in gradient[1])


def slow_dqn(batches, settings):
    """The heads after each update, in float64: loss, clipping and Adam written out."""
    head = np.zeros((3 + 1, 4))  # the last row: bias
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
        gradient = gradient * min(1, settings.max_gradient_norm / norm)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * np.square(gradient)
        step = first / (1 - 0.9**number)
        step = step / (np.sqrt(second / (1 - 0.999**number)) + settings.adam_epsilon)
        head = head - settings.learning_rate * step
        if number % settings.target_period == 0:
            target = head
        heads.append(head)
        targets.append(target)
        losses.append(loss)
        norms.append(norm)
    return heads, targets, losses, norms


def as_array(head):
    return np.concatenate([head.kernel, head.bias[None]])


def test_training_equals_a_slow_reference():
    settings = SETTINGS._replace(max_gradient_norm=1.0)
    batches = some_batches(25, 8)
    heads, targets, losses, norms = slow_dqn(batches, settings)
    assert 5 < np.sum(np.array(norms) > 1) < 25  # some gradients are clipped, others are not
    state = init_state(3, 4, settings)
    for number in range(25):
        state, loss = update(state, part(batches, slice(number, number + 1)), settings)
        np.testing.assert_allclose(as_array(state.head), heads[number], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(
            as_array(state.target_head), targets[number], rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(loss, losses[number], rtol=1e-3)
    assert int(state.num_updates) == 25


@pytest.mark.parametrize("count", [1, 2, 7])
def test_batches_in_one_call_equal_separate_calls(count):
    batches = some_batches(count, 4)
    start = init_state(3, 4, SETTINGS)
    together, mean_loss = update(start, batches)
    one, losses = start, []
    for number in range(count):
        one, loss = update(one, part(batches, slice(number, number + 1)))
        losses.append(float(loss))
    np.testing.assert_allclose(mean_loss, np.mean(losses), rtol=1e-6)
    assert int(together.num_updates) == int(one.num_updates) == count
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), together, one)


def test_target_period():
    batches = some_batches(7, 4)
    state = init_state(3, 4, SETTINGS)
    heads = [state.head]
    for number in range(7):
        state, _ = update(state, part(batches, slice(number, number + 1)))
        heads.append(state.head)
        assert not np.array_equal(heads[-1].kernel, heads[-2].kernel)
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
    settings = SETTINGS._replace(adam_epsilon=5.0)
    state, loss = update(init_state(1, 1, settings), batch, settings)
    gradient = scale * np.array([3, 1])
    expected = 0.05 * gradient / (gradient + 5)
    moved = [float(state.head.kernel[0, 0]), float(state.head.bias[0])]
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    assert float(loss) == 0.5 * reward**2


def test_the_first_state_does_not_change():
    start = init_state(3, 4, SETTINGS)
    update(start, some_batches(4, 4))
    assert int(start.num_updates) == 0
    jax.tree.map(np.testing.assert_array_equal, start.head, zero_head(3, 4))
    jax.tree.map(np.testing.assert_array_equal, start.target_head, zero_head(3, 4))


def test_the_target_period_is_in_agent_steps():
    # With one update every 2 agent steps, a period of 7 agent steps is 3 updates (rounded down).
    settings = SETTINGS._replace(update_every=2, target_period=7)
    batches = some_batches(3, 4)
    two, _ = update(init_state(3, 4, settings), part(batches, slice(0, 2)), settings)
    assert not two.target_head.kernel.any()
    three, _ = update(two, part(batches, slice(2, 3)), settings)
    np.testing.assert_array_equal(three.target_head.kernel, three.head.kernel)
    assert three.target_head.kernel.any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a_tm1", np.zeros((2, 1), int)),
        ("a_tm1", np.zeros(3, int)),
        ("r_t", np.zeros(1)),
        ("discount_t", np.zeros((2, 2))),
        ("features_t", np.zeros((2, 3))),
        ("features_tm1", np.zeros((3, 2))),
    ],
)
def test_wrong_shapes_are_refused(name, value):
    with pytest.raises(AssertionError):
        double_q_loss(ONLINE, TARGET, BATCH._replace(**{name: value}))


def learner(settings, num_envs=2):
    context = LearnerContext(
        num_features=3, num_actions=4, num_envs=num_envs, discount=0.9, n_step=1,
        clip_rewards=True, learn_after=10, seed=0,
    )  # fmt: skip
    return DqnLearner(context, settings)


def some_replay(size=1.0, num_envs=2):
    random = np.random.default_rng(0)
    replay = FeatureReplay(30, num_envs, 3, n_step=1, discount=0.9)
    no = np.zeros(num_envs, bool)
    for _ in range(20):
        features = size * random.normal(size=(num_envs, 3)).astype(np.float32)
        replay.add(features, random.integers(4, size=num_envs), np.ones(num_envs), no, no)
    return replay


def test_updates_fall_due_after_learn_after():
    one = learner(SETTINGS._replace(update_every=4, batch_size=2))
    counts = []
    for agent_step in (2, 10, 12, 14, 16, 18, 30):
        assert one.learn(some_replay(), agent_step) == {}
        counts.append(one.num_fits)
    assert counts == [0, 0, 0, 1, 1, 2, 5]
    assert int(one._state.num_updates) == 5
    assert one.finish(some_replay(), 30) == {}
    assert one.head.kernel.any()


@pytest.mark.parametrize("agent_steps", [(10_000,), (20_000, 30_000)])
def test_the_loss_is_logged_every_10_000_agent_steps(agent_steps):
    one = learner(SETTINGS._replace(update_every=5_000, batch_size=2))
    assert one.learn(some_replay(), 9_990) == {}
    for agent_step in agent_steps:
        assert one.learn(some_replay(), agent_step + 10)["loss"] > 0
        assert one.learn(some_replay(), agent_step + 5_010) == {}


@pytest.mark.parametrize(
    ("learning_rate", "size", "agent_step"),
    [
        (1e30, 1.0, 16),
        (0.05, 1e25, 13),
        (1e5, 1.0, 16),
    ],  # the loss overflows after one update; the gradient immediately; the loss is too large
)
def test_a_head_that_diverged_is_refused(learning_rate, size, agent_step):
    one = learner(SETTINGS._replace(update_every=3, batch_size=8, learning_rate=learning_rate))
    for step in (12, 14, 16, 18, 20):
        one.learn(some_replay(size), step)
    with pytest.raises(UserError) as raised:
        one.finish(some_replay(size), 20)
    assert str(raised.value) == (
        "dqn: the head diverged: its loss, gradient or weights are not finite, or its loss is far "
        f"above what rewards allow, at agent step {agent_step}; lower config.dqn.learning_rate "
        f"({learning_rate:g})"
    )
    with pytest.raises(UserError, match=f"at agent step {agent_step};"):
        one.learn(some_replay(size), 10_020)  # where the loss would be logged


def test_the_largest_loss_by_hand():
    # With a discount of 0.9 values reach 10: TD errors of 14.1 times that, squared and halved.
    assert largest_loss(0.9, clip_rewards=True) == pytest.approx(100 * 10**2)
    assert largest_loss(0.9, clip_rewards=False) == np.inf
    state = init_state(3, 4, SETTINGS)
    batches = some_batches(3, 8)
    _, loss = dqn.update(state, batches, SETTINGS)
    sound, _ = dqn.update(state, batches, SETTINGS, float(loss) * 100)
    assert int(sound.diverged_at) == -1
    diverged, _ = dqn.update(state, batches, SETTINGS, 1e-6)
    assert int(diverged.diverged_at) == 1
