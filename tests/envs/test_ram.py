"""The annotations of the RAM, held against play."""

import numpy as np
import pytest

from pvn.envs.emulator import Emulator
from pvn.envs.games import games
from pvn.envs.ram import find_variables, ram_variables
from pvn.errors import UserError


def play(game, steps, seed=5):
    """RAM uint8 [steps, 128] after each step, rewards and ends."""
    emulator, random = Emulator(game), np.random.default_rng(seed)
    emulator.boot(seed)
    seen = []
    for _ in range(steps):
        outcome = emulator.step(int(random.integers(emulator.num_actions)))
        seen.append((emulator.ram(), outcome.reward, outcome.terminal))
        if outcome.terminal:
            break
    ram, reward, _ = zip(*seen, strict=True)
    return np.array(ram), np.array(reward)


def test_table():
    known = ram_variables()
    assert len(known) == 24
    assert known.keys() <= games().keys()
    for variables in known.values():
        assert len(set(variables.values())) == len(variables)
        assert all(0 <= byte < 128 for byte in variables.values())
    assert known["Breakout"]["ball_x"] == 99
    with pytest.raises(UserError, match=r"the RAM of Alien is not annotated .* Asteroids, "):
        find_variables("Alien")


def test_pong():
    variables = find_variables("Pong")
    ram, reward = play("Pong", 500)
    score = {side: ram[:, variables[f"{side}_score"]].astype(int) for side in ("player", "enemy")}
    np.testing.assert_array_equal(score["player"] - score["enemy"], np.cumsum(reward))
    assert score["enemy"][-1] >= 5
    assert len(np.unique(ram[:, variables["ball_x"]])) > 50
    assert len(np.unique(ram[:, variables["player_y"]])) > 20


def test_breakout():
    variables = find_variables("Breakout")
    ram, reward = play("Breakout", 400, seed=1)
    assert reward.sum() >= 2
    # Binary-coded decimal.
    score = ram[:, variables["blocks_hit_count"]]
    np.testing.assert_array_equal(10 * (score // 16) + score % 16, np.cumsum(reward))
    # The paddle follows the action: RIGHT is 2, LEFT is 3.
    emulator = Emulator("Breakout")
    emulator.boot(1)
    x = {}
    for action in (2, 3):
        for _ in range(30):
            emulator.step(action)
        x[action] = emulator.ram()[variables["player_x"]]
    assert x[2] > x[3] + 50
