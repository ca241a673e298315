"""One emulator whose RAM and whole state can be read, saved and restored.

`AtariVectorEnv` shows neither. An `Emulator` that is booted with the same seed and gets the same
actions follows it exactly. It draws the sticky actions itself, by the emulator's own recipe: the
state that the emulator saves lacks the previous action, which the next sticky action repeats.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ale_py
import numpy as np
from ale_py import roms

from pvn.envs.games import find_game
from pvn.envs.protocol import PROTOCOL

_SKIP: int = PROTOCOL["frameskip"]
_STICKY: float = PROTOCOL["repeat_action_probability"]
_MAX_FRAMES: int = PROTOCOL["max_num_frames_per_episode"]


class Outcome(NamedTuple):
    """The outcome of one agent step."""

    reward: float  # not clipped
    terminal: bool  # the game ended
    truncated: bool  # the time limit ended the episode; never with terminal


class State(NamedTuple):
    """All that the future depends on, besides actions and random numbers."""

    emulator: Any  # ale_py.ALEState without random numbers
    previous: int  # the action that a sticky action repeats
    num_frames: int  # emulator frames since the episode's start


class Emulator:
    """One game under `pvn.envs.protocol`. Call `boot` first.

    A step holds Python's interpreter lock. Only processes run emulators in parallel.
    """

    def __init__(self, game: str, *, keep_screens: bool = False):
        """
        Args:
          game: its name in games.csv.
          keep_screens: keep the screens that `frame` needs, which takes time. It may be set later.

        Raises:
          UserError: there is no such game.
        """
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._rom = str(roms.get_rom_path(find_game(game).rom_id))
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self.keep_screens = keep_screens

    def boot(self, seed: int) -> None:
        """Boots the emulator, like `AtariEnvs.reset`. It takes about 0.1 s.

        seed: seed of the sticky actions, below 2**31.
        """
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(self._rom)
        self._actions = self._ale.getMinimalActionSet()
        self.num_actions = len(self._actions)
        # The emulator seeds a Mersenne Twister with one number, as `RandomState` does. For each
        # frame it draws 32 bits for each of two players.
        self._random = np.random.RandomState(seed)
        self._draws: Iterator[float] = iter(())
        self.restart()

    def restart(self) -> None:
        """Begins a new episode, like `AtariEnvs.restart`. The random numbers continue."""
        self._ale.reset_game()
        self._previous, self._num_frames = 0, 0  # action 0 is NOOP in every game
        if self.keep_screens:
            self._screens = [self._ale.getScreenGrayscale()] * 2

    def _draw(self) -> float:
        draw = next(self._draws, None)
        if draw is None:
            bits = self._random.randint(0, 2**32, (4096, 2), np.uint32)
            self._draws = iter((bits[:, 0] / 2**32).tolist())
            draw = next(self._draws)
        return draw

    def step(self, action: int, draws: Sequence[float] | None = None) -> Outcome:
        """Takes an action for four frames. The episode must be running.

        Args:
          action: a number in the minimal action set.
          draws: 4 numbers, uniform in [0, 1): a frame whose number is below 0.25 repeats the
            previous action. None: the numbers follow from the seed of `boot`.
        """
        reward = 0.0
        for frame in range(_SKIP):
            if (self._draw() if draws is None else draws[frame]) >= _STICKY:
                self._previous = action
            reward += self._ale.act(self._actions[self._previous])
            self._num_frames += 1
            if self._ale.game_over():
                return Outcome(reward, True, False)
            if self._num_frames >= _MAX_FRAMES:
                return Outcome(reward, False, True)
            if self.keep_screens and frame >= _SKIP - 2:
                self._screens[frame - _SKIP] = self._ale.getScreenGrayscale()
        return Outcome(reward, False, False)

    def ram(self) -> np.ndarray:
        """uint8 [128], a copy of the RAM."""
        return self._ale.getRAM()

    def frame(self) -> np.ndarray:
        """uint8 [84, 84], the observation's newest frame; needs `keep_screens`.

        It is exact: the integer nearest to the mean over a pixel's area. `AtariEnvs` rounds in
        float32, so pixels whose mean is halfway between two integers may differ by 1.
        """
        screen = np.maximum(*self._screens).astype(np.float64)
        return np.rint(_means(_means(screen).T).T).astype(np.uint8)

    def save(self) -> State:
        """The state, which `restore` of any emulator of this game accepts."""
        return State(self._ale.cloneState(), self._previous, self._num_frames)

    def restore(self, state: State) -> None:
        """Goes back to a saved state. The random numbers continue; `frame` is not restored."""
        self._ale.restoreState(state.emulator)
        self._previous, self._num_frames = state.previous, state.num_frames


def _means(image: np.ndarray) -> np.ndarray:
    """The means over 84 equal areas of the rows: float [H, W] -> [84, W]."""
    height = len(image)
    parts = 84 // math.gcd(84, height)  # that each row is split into
    return image.repeat(parts, axis=0).reshape(84, height * parts // 84, -1).mean(axis=1)
