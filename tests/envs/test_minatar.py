"""MinAtar, held against the authors' package step by step."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from pvn.envs import minatar
from pvn.envs.games import MINATAR, find_game
from pvn.envs.registry import make_envs, observation_of_game, protocol_of, time_limit
from pvn.errors import UserError

with warnings.catch_warnings():  # of the libraries that draw
    warnings.simplefilter("ignore")
    from minatar import Environment

NAMES = [game.name for game in MINATAR]


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_that_of_the_package(name: str) -> None:
    seeds, random = (5, 11), np.random.default_rng(0)
    envs = make_envs(name, len(seeds))
    envs.reset(np.array(seeds), np.ones(len(seeds), bool))
    references = []
    for seed in seeds:
        reference = Environment(find_game(name).rom_id)  # sticky actions 0.1, ramping
        reference.seed(seed)
        reference.reset()
        references.append(reference)
    actions = references[0].minimal_action_set()
    assert envs.num_actions == find_game(name).num_actions == len(actions)
    ends = rewards = 0
    for _ in range(4_000):
        observation = envs.observation
        assert observation.dtype == np.uint8
        np.testing.assert_array_equal(observation, np.stack([r.state() for r in references]))
        np.testing.assert_array_equal(envs.frame, observation)
        action = random.integers(envs.num_actions, size=len(seeds))
        step = envs.step(action)
        assert not step.truncated.any()
        for env, reference in enumerate(references):
            expected = reference.act(actions[action[env]])
            assert (step.reward[env], step.terminal[env]) == expected
            if expected[1]:
                reference.reset()
        rewards += step.reward.sum()
        if step.terminal.any():
            envs.restart(step.terminal)
            ends += step.terminal.sum()
    assert ends > 0  # Freeway ends after 2,500 steps, others sooner
    assert rewards > 0 or name == "MinAtar/Freeway"
    assert observation_of_game(name).shape == envs.observation.shape[1:]


def test_observations_that_were_given_do_not_change() -> None:
    envs = make_envs("MinAtar/Breakout", 1)
    envs.reset(np.array([0]), np.ones(1, bool))
    first, copy = envs.observation, envs.observation.copy()
    envs.step(np.zeros(1, int))
    envs.restart(np.ones(1, bool))
    np.testing.assert_array_equal(first, copy)


def test_a_seed_and_actions_say_all() -> None:
    envs, actions = make_envs("MinAtar/Asterix", 3), np.random.default_rng(1).integers(5, size=300)

    def play(seeds: list[int], where: list[bool]) -> list[np.ndarray]:
        envs.reset(np.array(seeds), np.array(where))
        frames = []
        for action in actions:
            ended = envs.step(np.full(3, action)).terminal
            frames.append(envs.frame.copy())
            envs.restart(ended)
        return frames

    first, second = play([7, 8, 7], [True] * 3), play([9, 7], [True, True, False])
    for frame, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(frame[0], frame[2])
        np.testing.assert_array_equal(frame[0], other[1])
    assert any((frame[0] != frame[1]).any() for frame in first)


def test_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minatar, "_LIMIT", 6)
    envs = make_envs("MinAtar/Freeway", 1)
    envs.reset(np.array([0]), np.ones(1, bool))
    for _ in range(2):
        cut = [bool(envs.step(np.zeros(1, int)).truncated[0]) for _ in range(6)]
        assert cut == [False] * 5 + [True]
        envs.restart(np.ones(1, bool))
    assert time_limit("MinAtar/Freeway") == 10_000
    assert protocol_of("MinAtar/Freeway")["sticky_action_prob"] == 0.1


def test_an_unknown_game() -> None:
    with pytest.raises(UserError) as caught:
        make_envs("MinAtar/breakout", 1)
    assert str(caught.value).startswith("unknown game 'MinAtar/breakout'; did you mean MinAtar/Br")


def test_the_rules_come_without_libraries_for_drawing() -> None:
    source = (
        "import sys; from pvn.envs.minatar import MinAtarEnvs; MinAtarEnvs('MinAtar/Asterix', 1); "
        "print({'seaborn', 'matplotlib', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
