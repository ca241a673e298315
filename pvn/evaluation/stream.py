"""Stores what an agent plays as a dataset, as the DQN Replay Dataset stores an agent's training."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pvn.data.layout import COLUMNS, Rows, frame_attribute
from pvn.data.store import dataset_exists, read_attributes
from pvn.data.writer import DatasetWriter, check_same
from pvn.envs.registry import observation_of_game, protocol_of
from pvn.errors import UserError
from pvn.evaluation.rollout import PlayedStep

_COMMIT_ROWS = 8192  # rows that are written together, in whole episodes


class Position(NamedTuple):
    """How much of the stream is stored."""

    num_rows: int = 0
    num_episodes: int = 0


def stream_attributes(identity: Mapping[str, Any], num_actions: int) -> dict[str, Any]:
    """The attributes of the dataset that a run writes. They identify the run.

    identity: the fields that define the run (`Run.identity`); JSON values.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    source = {"agent": identity["agent"], "seed": identity["seed"], "run_sha256": digest}
    return {
        "game": identity["game"],
        "num_actions": num_actions,
        "protocol": protocol_of(identity["game"]),
        "source": {"kind": "pvn.evaluate", **source},
        **frame_attribute(observation_of_game(identity["game"])),
    }


def check_free(path: str | Path, attributes: Mapping[str, Any]) -> None:
    """Raises `UserError` if there is a dataset at `path` with other attributes."""
    if dataset_exists(path):
        old = read_attributes(path)
        if any(old.get(name) != value for name, value in attributes.items()):
            raise UserError(
                f"--save_dataset={path}: holds a dataset of another run, expected a path where "
                "there is none"
            )


class EpisodeStore:
    """Writes the episodes of E environments in the order in which they end.

    The same timesteps give the same rows. After an interruption all timesteps are added again from
    the first one on, as `Rollout.restore` repeats them; rows that are stored already are skipped.
    """

    def __init__(
        self, path: str | Path, attributes: Mapping[str, Any], num_envs: int, stored: Position
    ):
        """Opens the dataset, and removes the rows after `stored`.

        Args:
          path: local folder or `gs://bucket/path`.
          attributes: game, num_actions, protocol and source of the rows.
          num_envs: E.
          stored: from the checkpoint that the run resumes from.

        Raises:
          UserError: the dataset is another one, or cannot be written.
        """
        self._writer = DatasetWriter(
            path, attributes, lambda old: check_same(path, old, attributes)
        )
        if self._writer.num_rows < stored.num_rows:
            stored = Position()  # it was deleted; all timesteps are added again, and written again
        self._writer.rewind(*stored)
        self._skip = stored.num_rows
        self._running: list[list[tuple[Any, ...]]] = [[] for _ in range(num_envs)]
        self._ended: list[tuple[Any, ...]] = []  # rows of episodes that are not written yet
        self._num_episodes = 0

    def add(self, step: PlayedStep) -> None:
        """Adds a timestep; writes the episodes that have ended, if they are many."""
        for env, (frame, *row) in enumerate(zip(*step, strict=True)):
            self._running[env].append((frame.copy(), *row, False, 0))  # not all E frames
            if row[2] or row[3]:
                self._end(env)
        if len(self._ended) >= _COMMIT_ROWS:
            self.flush()

    def _end(self, env: int) -> None:
        rows, self._running[env] = self._running[env], []
        skipped, self._skip = self._skip > 0, max(self._skip - len(rows), 0)
        if not skipped:
            self._ended += [(*row[:-1], self._num_episodes) for row in rows]
        self._num_episodes += 1

    def flush(self) -> Position:
        """Writes all episodes that have ended. Returns how much is stored."""
        if self._ended:
            frames, *columns = zip(*self._ended, strict=True)
            values = zip(columns, COLUMNS.values(), strict=True)
            self._writer.commit(
                Rows(np.stack(frames), *(np.array(column, dtype) for column, dtype in values))
            )
            self._ended = []
        return Position(self._writer.num_rows, int(self._writer.attributes["num_episodes"]))

    def close(self) -> Position:
        """Writes everything; an episode that is still running is marked as truncated."""
        for env, rows in enumerate(self._running):
            if rows:
                *row, terminal, _, cut, episode = rows[-1]
                rows[-1] = (*row, terminal, True, cut, episode)
                self._end(env)
        return self.flush()
