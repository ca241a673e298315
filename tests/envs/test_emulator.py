"""The emulator that can be read: held against the vector environment, and against itself."""

import numpy as np
import pytest

from pvn.envs.atari import AtariEnvs
from pvn.envs.emulator import Emulator
from pvn.envs.streams import replayed_ram, stream_starts
from pvn.errors import UserError

SEED = 77


@pytest.mark.parametrize(
    ("game", "steps", "episodes"), [("Breakout", 500, 2), ("MsPacman", 700, 1)]
)
def test_follows_the_vector_environment(game, steps, episodes):
    envs, emulator = AtariEnvs(game, 1), Emulator(game, keep_screens=True)
    # A reset boots again, whatever was played before.
    emulator.boot(3)
    emulator.step(1)
    envs.reset(np.array([SEED]), np.array([True]))
    emulator.boot(SEED)
    assert emulator.num_actions == envs.num_actions
    random = np.random.default_rng(0)
    ended = 0
    for step in range(steps):
        if step % 20 == 0 or ended:
            difference = np.abs(emulator.frame().astype(int) - envs.frame[0])
            assert difference.max() <= 1
            assert np.mean(difference > 0) < 0.01  # means halfway between two integers
        action = int(random.integers(envs.num_actions))
        expected, found = envs.step(np.array([action])), emulator.step(action)
        assert found == (expected.reward[0], expected.terminal[0], expected.truncated[0])
        if expected.terminal[0]:
            envs.restart(expected.terminal)
            emulator.restart()
            ended += 1
    assert ended >= episodes


def test_the_time_limit(monkeypatch):
    monkeypatch.setattr("pvn.envs.emulator._MAX_FRAMES", 10)
    emulator = Emulator("Pong")
    emulator.boot(SEED)
    assert [emulator.step(0)[1:] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]


def test_a_restored_state_has_the_same_future_in_any_emulator():
    """The previous action is part of the state: the first frames here all repeat it."""
    emulator, other = Emulator("Breakout"), Emulator("Breakout")
    emulator.boot(SEED)
    other.boot(1)
    for action in [1, 1, 2, 2, 2]:
        emulator.step(action)
    state = emulator.save()
    random = np.random.default_rng(1)
    actions, draws = random.integers(4, size=100).tolist(), random.random((100, 4))
    draws[0] = 0

    def future(one):
        one.restore(state)
        seen = [one.ram()]
        for action, each in zip(actions, draws, strict=True):
            one.step(action, each)
            seen.append(one.ram())
        return np.array(seen)

    first = future(emulator)
    np.testing.assert_array_equal(future(emulator), first)
    np.testing.assert_array_equal(future(other), first)
    emulator.restore(state._replace(previous=3))
    emulator.step(actions[0], draws[0])
    assert not np.array_equal(emulator.ram(), first[1])


def test_sticky_actions_by_hand():
    """Frames below 0.25 repeat the previous action."""
    emulator, plain = Emulator("Breakout"), Emulator("Breakout")
    for one in (emulator, plain):
        one.boot(SEED)
    emulator.step(2, [0.25, 0.9, 0.3, 0.99])
    plain.step(2, [1, 1, 1, 1])
    np.testing.assert_array_equal(emulator.ram(), plain.ram())
    emulator.step(3, [0, 0.2499, 0.1, 0.2])
    plain.step(2, [1, 1, 1, 1])
    np.testing.assert_array_equal(emulator.ram(), plain.ram())


def test_another_game_than_the_recorded_one_is_noticed():
    actions, terminal = np.ones(300, int), np.zeros(300, bool)
    with pytest.raises(UserError, match="the emulator does not repeat the game: after"):
        replayed_ram("Pong", SEED, actions, np.zeros(300), terminal)


def test_streams_by_hand():
    # Episodes of 1,500, 547, 1, 2,048, 3,000 and 5 rows.
    lengths = [1500, 547, 1, 2048, 3000, 5]
    episode = np.repeat(np.arange(6), lengths)
    assert stream_starts(episode).tolist() == [0, 2048, 4096, 7096]
    assert stream_starts(episode[:7096]).tolist() == [0, 2048, 4096]
    assert stream_starts(episode[:1]).tolist() == [0]
