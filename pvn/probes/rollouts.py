"""Rollouts that branch from the states of a dataset, in the emulator.

A dataset of pvn.collect holds its actions and seeds. So its games can be played again up to any
row. There the emulator's state is saved, and restored before each rollout. Sticky actions draw from
the rollout's own random numbers: the first action may be replaced by the previous one too, and
independently in each rollout.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from typing import NamedTuple

import numpy as np

from pvn.data.store import Dataset
from pvn.envs.emulator import Emulator
from pvn.envs.games import find_game
from pvn.envs.protocol import PROTOCOL
from pvn.envs.streams import replay, stream_seeds, stream_starts
from pvn.envs.workers import Workers
from pvn.errors import UserError


class Branching(NamedTuple):
    """Settings of the rollouts from a state."""

    rollouts: int  # per action
    steps: int  # of a rollout, unless the episode ends before
    discount: float
    clip_rewards: bool  # to [-1, 1]
    seed: int


class _Task(NamedTuple):
    """The rows of a stream up to the last drawn one, and what is known of them."""

    game: str
    path: str
    stream: int
    emulator_seed: int
    actions: np.ndarray  # int [n]
    rewards: np.ndarray  # float [n]
    terminal: np.ndarray  # bool [n]
    drawn: np.ndarray  # int [m], ascending, in the stream
    frames: np.ndarray  # uint8 [m, 84, 84], the drawn rows' frames
    ram: np.ndarray | None  # uint8 [m, 128]
    numbers: np.ndarray  # int [m], the drawn rows' numbers in the dataset
    branching: Branching


def check_collected(dataset: Dataset) -> None:
    """Raises `UserError` unless pvn.collect has made the dataset, under pvn's protocol."""
    if len(dataset.paths) > 1:
        raise UserError(
            f"dataset {dataset.path}: {len(dataset.paths)} datasets, expected one: the emulator "
            "plays the games of one dataset again"
        )
    source = dataset.attributes.get("source", {})
    if find_game(dataset.attributes["game"]).is_minatar:
        raise UserError(
            f"dataset {dataset.path}: is of {dataset.attributes['game']}, expected a game of the "
            "Atari 2600, whose emulator can be branched"
        )
    if source.get("kind") != "pvn.collect" or dataset.attributes.get("protocol") != PROTOCOL:
        raise UserError(
            f"dataset {dataset.path}: was not made by pvn.collect, so the emulator cannot play its "
            "games again; collect one with python -m pvn.collect"
        )


def draw_branch_points(dataset: Dataset, count: int, seed: int) -> np.ndarray:
    """Row numbers, int64 [min(count, N)], ascending, drawn without replacement."""
    total = len(dataset.rows.action)
    return np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))


def branch_dataset(
    dataset: Dataset,
    row: np.ndarray,
    branching: Branching,
    on_progress: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (rows int64 [m], returns float64 [m, A, rollouts]), stream by stream, in any order.

    Args:
      dataset: see `check_collected`.
      row: int64 [n], ascending.
      branching: settings.
      on_progress: called with the number of rows just done.

    Raises:
      UserError: the emulator does not repeat the games, or a file is corrupt.
    """
    with Workers() as workers:
        calls = [workers.submit(_branch_stream, task) for task in _tasks(dataset, row, branching)]
        for call in as_completed(calls):
            numbers, returns = call.result()
            on_progress(len(numbers))
            yield numbers, returns


def _tasks(dataset: Dataset, row: np.ndarray, branching: Branching) -> Iterator[_Task]:
    rows, starts = dataset.rows, stream_starts(dataset.rows.episode)
    stream = np.searchsorted(starts, row, side="right") - 1
    for number in np.unique(stream).tolist():
        mine = row[stream == number]
        span = slice(int(starts[number]), int(mine[-1]) + 1)
        yield _Task(
            game=dataset.attributes["game"],
            path=dataset.path,
            stream=number,
            emulator_seed=stream_seeds(dataset.attributes["source"]["seed"], number)[0],
            actions=rows.action[span],
            rewards=rows.reward[span],
            terminal=rows.terminal[span],
            drawn=mine - span.start,
            frames=rows.frame[mine],
            ram=None if rows.ram is None else rows.ram[mine],
            numbers=mine,
            branching=branching,
        )


def _branch_stream(task: _Task) -> tuple[np.ndarray, np.ndarray]:
    """Plays a stream again, and branches at the drawn rows. Returns their numbers and returns."""
    emulator = Emulator(task.game, keep_screens=True)
    emulator.boot(task.emulator_seed)
    returns = []
    where = dict(zip(task.drawn.tolist(), range(len(task.drawn)), strict=True))
    try:
        for row in replay(emulator, task.actions, task.rewards, task.terminal):
            if row in where:
                _check_state(emulator, task, where[row])
                random = np.random.default_rng([task.branching.seed, int(task.numbers[where[row]])])
                returns.append(branch(emulator, task.branching, random))
    except UserError as error:
        raise UserError(f"dataset {task.path}: stream {task.stream}: {error}") from None
    return task.numbers, np.array(returns)


def _check_state(emulator: Emulator, task: _Task, at: int) -> None:
    """Raises `UserError` unless the emulator shows the stored frame, and has the stored RAM."""
    # `Emulator.frame` and the stored frame may differ by 1 where a mean is halfway.
    difference = np.abs(emulator.frame().astype(int) - task.frames[at])
    same = difference.max() <= 1
    if same and task.ram is not None:
        same = np.array_equal(emulator.ram(), task.ram[at])
    if not same:
        raise UserError(
            f"the emulator does not show the stored frame of row {task.numbers[at]}; was the "
            "dataset made with another version of ale-py?"
        )


def branch(emulator: Emulator, branching: Branching, random: np.random.Generator) -> np.ndarray:
    """Returns float64 [A, rollouts] of rollouts from the emulator's state, which is restored.

    Rollout k takes the same actions after the first, and repeats the same frames' previous actions,
    for all first actions.
    """
    rollouts, steps = branching.rollouts, branching.steps
    state, num_actions = emulator.save(), emulator.num_actions
    actions = random.integers(num_actions, size=(rollouts, steps)).tolist()
    draws = random.random((rollouts, steps, 4)).tolist()
    returns = np.zeros((num_actions, rollouts))
    keep_screens, emulator.keep_screens = emulator.keep_screens, False
    for first in range(num_actions):
        for k in range(rollouts):
            emulator.restore(state)
            scale = 1.0
            for t in range(steps):
                outcome = emulator.step(actions[k][t] if t else first, draws[k][t])
                reward = outcome.reward
                if branching.clip_rewards:
                    reward = min(max(reward, -1.0), 1.0)
                returns[first, k] += scale * reward
                scale *= branching.discount
                if outcome.terminal or outcome.truncated:
                    break
    emulator.restore(state)
    emulator.keep_screens = keep_screens
    return returns
