"""The streams of `pvn.collect`: their seeds, their place in a dataset, and how to play them again.

A stream begins with a newly booted emulator. It consists of whole episodes until it has at least
`STREAM_STEPS` rows. Only the last stream of a dataset may be cut.
"""

from collections.abc import Iterator

import numpy as np

from pvn.envs.emulator import Emulator
from pvn.errors import UserError

STREAM_STEPS = 2048


def stream_seeds(seed: int, number: int) -> tuple[int, np.random.SeedSequence]:
    """Seeds of the emulator and of the actions of a stream.

    Args:
      seed: seed of the dataset.
      number: of the stream, from 0.
    """
    emulator, actions = np.random.SeedSequence([seed, number]).spawn(2)
    return int(emulator.generate_state(1)[0]) >> 1, actions  # the emulator takes 31 bits


def stream_starts(episode: np.ndarray) -> np.ndarray:
    """The first row of each stream, int64 [S], of a dataset with episode numbers int [N]."""
    starts, stops = [0], np.flatnonzero(np.diff(episode)) + 1
    while len(later := stops[stops >= starts[-1] + STREAM_STEPS]):
        starts.append(int(later[0]))
    return np.array(starts)


def replay(
    emulator: Emulator, actions: np.ndarray, rewards: np.ndarray, terminal: np.ndarray
) -> Iterator[int]:
    """Yields each row before its action is taken, and restarts the game after its end.

    Args:
      emulator: newly booted, as it was when the actions were taken.
      actions: int [n].
      rewards, terminal: float [n] and bool [n], what happened then.

    Raises:
      UserError: something else happens now.
    """
    recorded = zip(actions.tolist(), rewards.tolist(), terminal.tolist(), strict=True)
    for row, (action, reward, ended) in enumerate(recorded):
        yield row
        outcome = emulator.step(action)
        if outcome[:2] != (reward, ended):
            raise UserError(
                f"the emulator does not repeat the game: after {row + 1} steps it gives reward "
                f"{outcome.reward:g} and terminal {outcome.terminal}, stored are {reward:g} and "
                f"{ended}; was it recorded with another version of ale-py?"
            )
        if outcome.terminal or outcome.truncated:
            emulator.restart()


def replayed_ram(
    game: str, seed: int, actions: np.ndarray, rewards: np.ndarray, terminal: np.ndarray
) -> np.ndarray:
    """The RAM before each action, uint8 [n, 128], of an emulator that is booted with `seed`.

    Raises:
      UserError: see `replay`.
    """
    emulator = Emulator(game)
    emulator.boot(seed)
    ram = np.empty((len(actions), *emulator.ram().shape), np.uint8)
    for row in replay(emulator, actions, rewards, terminal):
        ram[row] = emulator.ram()
    return ram
