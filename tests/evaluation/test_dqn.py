import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pvn.errors import UserError
from pvn.evaluation.dqn import DqnLearner
from pvn.evaluation.head import init_head, outputs
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.q_learning import (
    DqnSettings,
    QParams,
    encode_frames,
    init_state,
    largest_loss,
    make_optimizer,
    q_losses,
    update,
)
from pvn.evaluation.replay import FrameBuffer, Replay
from pvn.evaluation.values import C51, ActionValue
from pvn.types import ATARI, Interaction
from tests.evaluation.pixels import linear_head, pixel_features

SETTINGS = DqnSettings(
    update_every=1,
    batch_size=8,
    learning_rate=0.05,
    adam_epsilon=1e-4,
    max_gradient_norm=10.0,
    target_period=3,
)


def some_batches(count, batch_size, seed=0):
    """[K, B, ...]."""
    random = np.random.default_rng(seed)
    size = (count, batch_size)
    return Interaction(
        s_tm1=random.normal(size=(*size, 3)).astype(np.float32),
        a_tm1=random.integers(4, size=size).astype(np.int32),
        r_t=random.normal(size=size, scale=3).astype(np.float32),
        discount_t=random.choice([0, 0.9], size=size).astype(np.float32),
        s_t=random.normal(size=(*size, 3)).astype(np.float32),
    )


def part(batches, where):
    return jax.tree.map(lambda x: x[where], batches)


ONLINE = linear_head(jnp.array([[1.0, 3, 2], [1, 0, 2]]), jnp.array([0.0, 1, -1]))
TARGET = linear_head(jnp.array([[5.0, -1, 2], [0, 2, 4]]), jnp.array([2.0, 0, 1]))
BATCH = Interaction(
    s_tm1=jnp.array([[1.0, 1], [2, 0]]),
    a_tm1=jnp.array([2, 0]),
    r_t=jnp.array([3.0, -1]),
    discount_t=jnp.array([0.5, 0]),
    s_t=jnp.array([[1.0, 0], [7, 7]]),
)
# First: the online values at s' are (1, 4, 1), so the best action is 1. Its value in the target
# network is -1; the target network's own best action is 0, with value 7. The target is
# 3 + 0.5 * -1 = 2.5. The value of action 2 at s is 2 + 2 - 1 = 3. Second: the game ended, so the
# target is -1; the value is 2.
ERRORS = [2.5 - 3, -1 - 2]
ONLINE, TARGET = QParams(ONLINE, None), QParams(TARGET, None)


def losses(params, target, batch=BATCH, double=True):
    return q_losses(params, target, batch, 3, double=double)


def test_losses_by_hand():
    assert outputs(ONLINE.head, BATCH.s_t, 3)[0, :, 0].tolist() == [1, 4, 1]
    assert outputs(TARGET.head, BATCH.s_t, 3)[0, :, 0].tolist() == [7, -1, 3]
    assert jax.jit(losses)(ONLINE, TARGET).tolist() == [0.5 * error**2 for error in ERRORS]
    # Without double Q-learning the target network chooses action 0: 3 + 0.5 * 7 = 6.5.
    found = losses(ONLINE, TARGET, double=False)
    assert found.tolist() == [0.5 * (6.5 - 3) ** 2, 0.5 * ERRORS[1] ** 2]


def test_gradient_by_hand():
    # Only the value of the taken action has a gradient, -error * features / B; the target has none.
    gradient = jax.grad(lambda *params: losses(*params).mean(), argnums=(0, 1))(ONLINE, TARGET)
    kernel = np.zeros((2, 3))
    kernel[:, 2] = -ERRORS[0] * np.array([1, 1]) / 2
    kernel[:, 0] = -ERRORS[1] * np.array([2, 0]) / 2
    (layer,) = gradient[0].head
    np.testing.assert_array_equal(layer.kernel, kernel)
    np.testing.assert_array_equal(layer.bias, [-ERRORS[1] / 2, 0, -ERRORS[0] / 2])
    assert not any(x.any() for x in jax.tree.leaves(gradient[1]))


def slow_dqn(batches, settings):
    """The heads after each update, in float64: loss, clipping and Adam written out."""
    head = np.zeros((3 + 1, 4))  # the last row: bias
    target, first, second = head, np.zeros_like(head), np.zeros_like(head)
    heads, targets, losses, norms = [], [], [], []
    for number in range(1, len(batches.r_t) + 1):
        batch = part(batches, number - 1)
        size = len(batch.r_t)
        x, later = (
            np.concatenate([f, np.ones((size, 1))], axis=1) for f in (batch.s_tm1, batch.s_t)
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


def learner(settings, features=None, num_envs=2, kind=None, discount=0.9):
    context = LearnerContext(
        features=features or pixel_features(3), num_actions=4, num_envs=num_envs,
        discount=discount, n_step=1, clip_rewards=True, learn_after=10, seed=0, observation=ATARI,
    )  # fmt: skip
    return DqnLearner(context, settings, kind or ActionValue())


class ScriptedReplay:
    """A replay that gives these batches [K, B, ...] in turn."""

    def __init__(self, batches):
        self._batches = [part(batches, number) for number in range(len(batches.r_t))]
        self.first_start, self.end_start, self.num_envs = 0, 10, 1

    def is_start(self, time, env):
        return np.ones(len(time), bool)

    def gather(self, time, env):
        return self._batches.pop(0)


def test_training_equals_a_slow_reference():
    settings = SETTINGS._replace(max_gradient_norm=1.0)
    batches = some_batches(25, 8)
    heads, targets, mean_losses, norms = slow_dqn(batches, settings)
    assert 5 < np.sum(np.array(norms) > 1) < 25  # some gradients are clipped, others are not
    one, replay = learner(settings), ScriptedReplay(batches)
    done = 0
    for count in (1, 1, 2, 5, 1, 15):  # updates at a time
        one.learn(replay, 10 + done + count)
        done += count
        (layer,), (target,) = one.train_state.params.head, one.train_state.target.head
        for found, expected in ((layer, heads[done - 1]), (target, targets[done - 1])):
            both = np.concatenate([found.kernel, found.bias[None]])
            np.testing.assert_allclose(both, expected, rtol=1e-3, atol=1e-5)
    assert one.num_fits == int(one.train_state.num_updates) == 25
    logged = one.finish(replay, 35)
    np.testing.assert_allclose(logged["loss"], np.mean(mean_losses), rtol=1e-3)


@pytest.mark.parametrize(("reward", "scale"), [(100.0, 10 / np.sqrt(10)), (2.0, 2.0)])
def test_the_gradient_is_clipped(reward, scale):
    # One interaction at features (3): the gradient is -reward (3, 1), its norm reward sqrt(10).
    # Adam's first step is learning_rate * g / (|g| + epsilon), and a large epsilon shows g.
    batch = Interaction(
        s_tm1=np.array([[3]], np.float32),
        a_tm1=np.array([0], np.int32),
        r_t=np.array([reward], np.float32),
        discount_t=np.array([0], np.float32),
        s_t=np.array([[0]], np.float32),
    )
    settings = SETTINGS._replace(adam_epsilon=5.0)
    start = init_state(QParams(init_head(1, 1), None), settings)
    state, loss = update(start, batch, np.ones(1, np.float32), settings=settings, num_actions=1)
    gradient = scale * np.array([3, 1])
    expected = 0.05 * gradient / (gradient + 5)
    (layer,) = state.params.head
    moved = [float(layer.kernel[0, 0]), float(layer.bias[0])]
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
    assert loss.tolist() == [0.5 * reward**2]
    assert int(start.num_updates) == 0  # the first state does not change
    assert not start.params.head[0].kernel.any()


def test_weights_scale_the_loss():
    settings = SETTINGS._replace(adam_epsilon=5.0)
    batch = part(some_batches(1, 8), 0)
    start = init_state(QParams(init_head(3, 4), None), settings)
    weight = np.zeros(8, np.float32)
    weight[2] = 8
    one = jax.tree.map(lambda x: x[2:3], batch)
    found, loss = update(start, batch, weight, settings=settings, num_actions=4)
    ones = np.ones(1, np.float32)
    expected, _ = update(start, one, ones, settings=settings, num_actions=4)
    np.testing.assert_allclose(
        found.params.head[0].kernel, expected.params.head[0].kernel, rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(found.loss_sum, loss.mean(), rtol=1e-6)  # without the weights


def test_the_target_period_is_in_agent_steps():
    # With one update every 2 agent steps, a period of 7 agent steps is 3 updates (rounded down).
    one = learner(SETTINGS._replace(update_every=2, target_period=7))
    replay = ScriptedReplay(some_batches(3, 8))
    one.learn(replay, 14)
    assert not one.train_state.target.head[0].kernel.any()
    one.learn(replay, 16)
    np.testing.assert_array_equal(
        one.train_state.target.head[0].kernel, one.train_state.params.head[0].kernel
    )
    assert one.train_state.target.head[0].kernel.any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a_tm1", np.zeros((2, 1), int)),
        ("a_tm1", np.zeros(3, int)),
        ("r_t", np.zeros(1)),
        ("discount_t", np.zeros((2, 2))),
        ("s_t", np.zeros((2, 3))),
        ("s_tm1", np.zeros((3, 2))),
    ],
)
def test_wrong_shapes_are_refused(name, value):
    with pytest.raises(AssertionError):
        losses(ONLINE, TARGET, BATCH._replace(**{name: value}))


def some_replay(one, size=1.0, num_envs=2, timesteps=20):
    random = np.random.default_rng(0)
    states = one.state_buffer(30, num_envs)
    replay = Replay(30, num_envs, states, n_step=1, discount=0.9)
    no = np.zeros(num_envs, bool)
    for _ in range(timesteps):
        if isinstance(states, FrameBuffer):
            state = random.integers(256, size=(num_envs, 84, 84)).astype(np.uint8)
        else:
            state = size * random.normal(size=(num_envs, 3)).astype(np.float32)
        replay.add(state, random.integers(4, size=num_envs), np.ones(num_envs), no, no)
    return replay


def test_updates_fall_due_after_learn_after():
    one = learner(SETTINGS._replace(update_every=4, batch_size=2))
    replay, counts = some_replay(one), []
    for agent_step in (2, 10, 12, 14, 16, 18, 30):
        assert one.learn(replay, agent_step) == {}
        counts.append(one.num_fits)
    assert counts == [0, 0, 0, 1, 1, 2, 5]
    assert one.finish(replay, 34)["loss"] > 0  # it makes the update that is left
    assert one.num_fits == 6
    assert one.policy().head[0].kernel.any()


@pytest.mark.parametrize("agent_steps", [(10_000,), (20_000, 30_000)])
def test_the_loss_is_logged_every_10_000_agent_steps(agent_steps):
    one = learner(SETTINGS._replace(update_every=5_000, batch_size=2))
    replay = some_replay(one)
    assert one.learn(replay, 9_990) == {}
    for agent_step in agent_steps:
        assert one.learn(replay, agent_step + 10)["loss"] > 0
        assert one.learn(replay, agent_step + 5_010) == {}


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
    replay = some_replay(one, size)
    for step in (12, 14, 16, 18, 20):
        one.learn(replay, step)
    with pytest.raises(UserError) as raised:
        one.finish(replay, 20)
    assert str(raised.value) == (
        "dqn: the head diverged: its loss, gradient or weights are not finite, or its loss is far "
        f"above what rewards allow, at agent step {agent_step}; lower config.dqn.learning_rate "
        f"({learning_rate:g})"
    )
    with pytest.raises(UserError, match=f"at agent step {agent_step};"):
        one.learn(replay, 10_020)  # where the loss would be logged


def test_the_largest_loss_by_hand():
    # With a discount of 0.9 values reach 10: TD errors of 14.1 times that, squared and halved.
    assert largest_loss(ActionValue(), 0.9, clip_rewards=True) == pytest.approx(100 * 10**2)
    huber = largest_loss(ActionValue(huber_delta=1), 0.9, clip_rewards=True)
    assert huber == pytest.approx(np.sqrt(2) * 100 - 0.5)
    assert largest_loss(ActionValue(), 0.9, clip_rewards=False) == np.inf
    assert largest_loss(C51(), 0.9, clip_rewards=True) == np.inf


@pytest.mark.parametrize(("limit", "expected"), [(0.0, [3, 4]), (10.0, [0.6, 0.8])])
def test_gradients_are_not_clipped_at_0(limit, expected):
    params = QParams(linear_head(jnp.zeros((1, 1)), jnp.zeros(1)), None)
    gradient = QParams(linear_head(jnp.full((1, 1), 30.0), jnp.full(1, 40.0)), None)
    settings = SETTINGS._replace(max_gradient_norm=limit)
    _, state = make_optimizer(settings).update(gradient, init_state(params, settings).opt_state)
    moment = state[1].inner_states["head"].inner_state[0].mu.head[0]
    found = [moment.kernel.item(), moment.bias.item()]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # Adam takes a tenth of the gradient


@pytest.mark.parametrize("kind", [None, C51(11, 10.0)])
def test_an_encoder_that_is_trained_learns_a_bandit(kind):
    """The reward is the pixel that the action names: the encoder must keep its features apart."""
    settings = SETTINGS._replace(encoder_learning_rate=0.01, learning_rate=0.03, batch_size=32)
    features = pixel_features(4)
    one = learner(settings, features, kind=kind)
    random = np.random.default_rng(0)
    replay = Replay(600, 1, one.state_buffer(600, 1), n_step=1, discount=0.0)
    for _ in range(600):
        frame = random.integers(256, size=(1, 84, 84)).astype(np.uint8)
        action, no = random.integers(4, size=1), np.zeros(1, bool)
        replay.add(frame, action, frame[:, 0, action[0]] / np.float32(255), no, no)
    one.learn(replay, 510)
    observation = random.integers(256, size=(50, 84, 84, 4), dtype=np.uint8)
    acted = one.act(observation)
    kept = one.to_keep(observation, acted)
    np.testing.assert_array_equal(kept, observation[..., -1])  # the replay keeps frames
    pixels = observation[:, 0, :4, -1].astype(int)
    chosen = pixels[np.arange(50), acted.greedy]
    assert np.mean(pixels.max(axis=1) - chosen) < 15  # of 255; a random action loses 76
    # The encoder moved, and the policy has the new weights; the features of the caller do not.
    policy = one.policy()
    assert not np.array_equal(policy.features.params["weight"], features.params["weight"])
    assert (np.asarray(features.params["weight"]) == 1).all()
    expected = policy.values.values(outputs(policy.head, policy.features(observation), 4))
    np.testing.assert_array_equal(np.argmax(expected, axis=1), acted.greedy)


def test_the_two_learning_rates_are_of_head_and_encoder():
    # Adam's first step has the size of the learning rate where the gradient is not 0.
    settings = SETTINGS._replace(encoder_learning_rate=0.3, learning_rate=0.1, adam_epsilon=1e-12)
    features = pixel_features(1)
    params = QParams(linear_head(jnp.ones((1, 1)), jnp.zeros(1)), features.params)
    stack = np.full((1, 4, 84, 84), 255, np.uint8)
    batch = Interaction(stack, np.zeros(1, np.int32), np.full(1, 3.0), np.zeros(1), stack)
    state, _ = update(
        init_state(params, settings), batch, np.ones(1, np.float32), settings=settings,
        num_actions=1, encode=encode_frames(features, ATARI),
    )  # fmt: skip
    moved = optax.tree.sub(state.params, params)
    np.testing.assert_allclose(moved.head[0].kernel, [[0.1]], rtol=1e-5)
    np.testing.assert_allclose(moved.encoder["weight"], [[0.3]], rtol=1e-5)
