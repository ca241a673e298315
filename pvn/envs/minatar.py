"""MinAtar games, with the rules of the authors' package (Young and Tian 2019).

An observation is uint8 [10, 10, C] of zeros and ones, one channel for each kind of object. It is
not stacked: channels show where things were, or which way they go. Actions come from the minimal
action set. The authors' class `Environment` draws the sticky actions; this does it likewise, draw
by draw. Two things differ from it. An episode is truncated after `max_num_steps_per_episode`; in
the package it may go on for ever. And each environment has its own seed.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from pvn.envs.environment import TimeStep
from pvn.envs.games import find_game
from pvn.envs.protocol import MINATAR_PROTOCOL

_STICKY: float = MINATAR_PROTOCOL["sticky_action_prob"]
_RAMPING: bool = MINATAR_PROTOCOL["difficulty_ramping"]
_LIMIT: int = MINATAR_PROTOCOL["max_num_steps_per_episode"]


def _rules(name: str) -> Any:
    """The package's module of a game. The package itself imports libraries for drawing: 2 s."""
    package = importlib.util.find_spec("minatar")
    assert package is not None
    assert package.origin is not None  # its __init__.py
    file = Path(package.origin).parent / "environments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"minatar_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class MinAtarEnvs:
    """E games that take steps together, one after the other in this thread."""

    def __init__(self, game: str, num_envs: int):
        """Raises `UserError` if there is no such game."""
        found = find_game(game)
        rules = _rules(found.rom_id)
        self._games: list[Any] = [rules.Env(ramping=_RAMPING) for _ in range(num_envs)]
        self._actions: list[int] = self._games[0].minimal_action_set()
        self.game, self.num_envs, self.num_actions = game, num_envs, len(self._actions)
        self._random = [np.random.RandomState(0)] * num_envs
        self._last = [0] * num_envs  # the action that a sticky action repeats; 0 is no-op
        self._length = np.zeros(num_envs, np.int64)  # steps of the episode
        self._states = np.zeros((num_envs, *self._games[0].state_shape()), np.uint8)

    @property
    def observation(self) -> np.ndarray:
        """uint8 [E, 10, 10, C]."""
        return self._states

    @property
    def frame(self) -> np.ndarray:
        """uint8 [E, 10, 10, C]: the observation."""
        return self._states

    def reset(self, seeds: np.ndarray, where: np.ndarray) -> None:
        """See `Environments.reset`."""
        for seed, env in zip(seeds.tolist(), np.flatnonzero(where).tolist(), strict=True):
            # The rules and the sticky actions share the random numbers.
            self._random[env] = self._games[env].random = np.random.RandomState(seed)
            self._last[env] = 0
        self.restart(where)

    def restart(self, where: np.ndarray) -> None:
        """See `Environments.restart`. As in the package, the previous action stays."""
        self._states = self._states.copy()
        for env in np.flatnonzero(where).tolist():
            self._games[env].reset()
            self._length[env] = 0
            self._states[env] = self._games[env].state()

    def step(self, action: np.ndarray) -> TimeStep:
        """See `Environments.step`."""
        reward, terminal = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        self._states = np.empty_like(self._states)
        for env, (game, chosen) in enumerate(zip(self._games, action.tolist(), strict=True)):
            if self._random[env].rand() >= _STICKY:
                self._last[env] = self._actions[chosen]
            reward[env], terminal[env] = game.act(self._last[env])
            self._states[env] = game.state()
        self._length += 1
        return TimeStep(reward, terminal, (self._length >= _LIMIT) & ~terminal)
