"""Plays the streams of a dataset in parallel, and reads their RAM."""

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from pvn.data.layout import COLUMNS, Rows
from pvn.data.writer import check_same
from pvn.envs.environment import Environments
from pvn.envs.policies import Policy, sample_action
from pvn.envs.streams import STREAM_STEPS, replayed_ram, stream_seeds
from pvn.envs.workers import Workers
from pvn.errors import UserError

_FEW_ROWS = 4096  # to read their RAM takes less time than to start a process


def check_same_play(dataset: str, old: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Raises `UserError` unless a dataset with the attributes `old` was collected as `made`."""
    if old.get("ram", False) != made.get("ram", False):
        holds, flag = ("RAM", "ram") if old.get("ram") else ("no RAM", "noram")
        raise UserError(
            f"dataset {dataset}: holds {holds}; pass --{flag}, name another --dataset or pass "
            "--overwrite"
        )
    source = made["source"]
    if "head_sha256" in source:  # the weights identify the policy; its directory may have moved
        source = {**source, "policy": old.get("source", {}).get("policy")}
    check_same(dataset, old, {**made, "source": source})


class Stream:
    """A stream that is being played: its random numbers and its rows so far."""

    def __init__(self, seed: int, number: int, frame: tuple[int, ...]):
        """
        Args:
          seed: seed of the dataset.
          number: of the stream, from 0.
          frame: shape of a frame.
        """
        self.number = number
        self.emulator_seed, actions = stream_seeds(seed, number)
        self.random = np.random.default_rng(actions)
        self.num_rows = 0
        self.ram: Future[np.ndarray] | None = None  # of the first rows; None: not asked for yet
        self._episode = 0
        self._arrays = _empty_arrays(STREAM_STEPS, frame)

    def append(
        self, frame: np.ndarray, action: int, reward: float, terminal: bool, truncated: bool
    ) -> None:
        """Appends a row. frame: before the action."""
        if self.num_rows == len(self._arrays[0]):
            grown = _empty_arrays(2 * self.num_rows, frame.shape)
            for old, new in zip(self._arrays, grown, strict=True):
                new[: self.num_rows] = old
            self._arrays = grown
        values = (frame, action, reward, terminal, truncated, False, self._episode)
        for array, value in zip(self._arrays, values, strict=True):
            array[self.num_rows] = value
        self.num_rows += 1
        self._episode += terminal or truncated

    def rows(self, limit: int) -> Rows:
        """The first `limit` rows. If this cuts an episode, its last row is marked truncated."""
        rows = Rows(*(array[: min(limit, self.num_rows)] for array in self._arrays))
        rows.truncated[-1] = not rows.terminal[-1]
        return rows


def _empty_arrays(count: int, frame: tuple[int, ...]) -> list[np.ndarray]:
    """The arrays of `count` rows without RAM, in the order of `Rows`. frame: its shape."""
    columns = (np.empty(count, dtype) for dtype in COLUMNS.values())
    return [np.empty((count, *frame), np.uint8), *columns]


class Taken(NamedTuple):
    """Rows to store next."""

    rows: Rows
    whole_streams: int | None  # complete streams once these rows are stored; None: a part of one


class Play:
    """Plays streams in parallel, one in each environment."""

    def __init__(
        self,
        envs: Environments,
        *,
        policy: Policy | None,
        epsilon: float,
        seed: int,
        next_stream: int,
        workers: Workers | None,
    ):
        """
        Args:
          envs: the environments.
          policy, epsilon, seed: see `pvn.collect.collect`.
          next_stream: number of the first stream to play.
          workers: processes that read RAM; None: the rows have no RAM.
        """
        self._envs, self._policy, self._epsilon, self._seed = envs, policy, epsilon, seed
        self._next_stream, self._workers = next_stream, workers
        self._playing: list[Stream | None] = [None] * envs.num_envs
        self._waiting: dict[int, Stream] = {}  # number -> stream that is not stored yet

    @property
    def num_rows(self) -> int:
        """Number of rows that are played but not stored yet."""
        return sum(stream.num_rows for stream in self._waiting.values())

    def begin_streams(self) -> None:
        """Begins a new stream in each environment without one."""
        begun = []
        idle = np.array([stream is None for stream in self._playing])
        for env in np.flatnonzero(idle).tolist():
            stream = Stream(self._seed, self._next_stream, self._envs.frame.shape[1:])
            self._playing[env] = self._waiting[self._next_stream] = stream
            self._next_stream += 1
            begun.append(stream.emulator_seed)
        if begun:
            self._envs.reset(np.array(begun), idle)

    def step(self) -> None:
        """Plays one timestep."""
        envs = self._envs
        choices = self._policy(envs.observation) if self._policy else [None] * envs.num_envs
        action = np.array(
            [
                sample_action(choice, self._epsilon, envs.num_actions, stream.random)
                if stream
                else 0
                for stream, choice in zip(self._playing, choices, strict=True)
            ]
        )
        frame = envs.frame.copy()  # before the action
        reward, terminal, truncated = envs.step(action)
        ended = terminal | truncated
        for env, stream in enumerate(self._playing):
            if stream is None:
                continue
            stream.append(frame[env], action[env], reward[env], terminal[env], truncated[env])
            if ended[env] and stream.num_rows >= STREAM_STEPS:
                self._playing[env] = None
        if ended.any():
            envs.restart(ended)

    def take(self, room: int) -> Taken | None:
        """Removes the next stream, if it is complete or has at least `room` rows; else None.

        Returns at most `room` rows of it. None too, if it is better to play on until its RAM is
        read.
        """
        if self._workers and room > _FEW_ROWS:
            for stream in self._waiting.values():
                if stream not in self._playing and stream.ram is None:
                    stream.ram = self._workers.submit(self._read_ram(stream, stream.num_rows))
        if not self._waiting:
            return None
        first = self._waiting[min(self._waiting)]
        whole = first not in self._playing
        if not whole and first.num_rows < room:
            return None
        rows = first.rows(room)
        if self._workers:
            must_wait = self.num_rows >= room or len(self._waiting) > 3 * self._envs.num_envs
            if first.ram and not first.ram.done() and not must_wait:
                return None
            ram = first.ram.result()[:room] if first.ram else self._read_ram(first, room)()
            rows = rows._replace(ram=ram)
        del self._waiting[first.number]
        is_stored = whole and first.num_rows <= room
        return Taken(rows, first.number + 1 if is_stored else None)

    def _read_ram(self, stream: Stream, limit: int) -> Callable[[], np.ndarray]:
        """A function that reads the RAM of the first `limit` rows of a stream."""
        rows = stream.rows(limit)
        game, seed = self._envs.game, stream.emulator_seed
        return functools.partial(replayed_ram, game, seed, rows.action, rows.reward, rows.terminal)
