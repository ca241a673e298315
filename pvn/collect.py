r"""Plays a game and stores the data as a dataset.

    python -m pvn.collect --game=Pong --num_steps=100000 --policy=random --seed=0 \
        --dataset=data/pong

The data are a sequence of streams. A stream begins with a newly booted emulator, and consists of
whole episodes until it has at least `STREAM_STEPS` rows. It depends only on the seed, the number of
the stream and the policy. The same seed therefore gives the same bytes. An interrupted collection
continues at the first stream that is not stored, and a larger `--num_steps` extends a dataset. Only
the last stream is cut at `--num_steps`, and its last episode is then marked truncated. Random play
does not depend on `--num_envs`. A network's play may, because the last digits of its output may
depend on the size of the batch.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.data.store import COLUMNS, FRAME_SHAPE, Rows, dataset_exists
from pvn.data.writer import DatasetWriter, check_same, delete_dataset
from pvn.envs.atari import AtariEnvs
from pvn.envs.games import find_game
from pvn.envs.policies import Policy, load_own_policy, sample_action
from pvn.envs.protocol import PROTOCOL
from pvn.paths import is_remote
from pvn.plugins import is_plugin

_GAME = flags.DEFINE_string("game", "Pong", "Game, by its name in gymnasium: MsPacman.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", 100_000, "Agent steps to store.", lower_bound=1)
_POLICY = cfg.define_path(
    "policy",
    "random",
    "`random` (uniform), the directory of a finished pvn.evaluate run, or your own: "
    "path/to/file.py:Name (docs/data.md).",
    local=False,
)
_EPSILON = flags.DEFINE_float(
    "epsilon",
    None,
    "Probability of a uniform action instead of the policy's. Default: 0.05 for a policy of "
    "pvn.evaluate, 0 for your own.",
    0.0,
    1.0,
)
_SEED = cfg.define_seed("Seed of emulators and actions.")
_DATASET = cfg.define_path(
    "dataset", None, "Directory to write (or gs://...).", required=True, local=False
)
_NUM_ENVS = flags.DEFINE_integer("num_envs", 8, "Number of emulators.", lower_bound=1)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the dataset at --dataset first.")

STREAM_STEPS = 2048


class _Stream:
    """A stream that is being played: its random numbers and its rows so far."""

    def __init__(self, seed: int, number: int):
        self.number = number
        emulator, actions = np.random.SeedSequence([seed, number]).spawn(2)
        self.emulator_seed = int(emulator.generate_state(1)[0]) >> 1  # the emulator takes 31 bits
        self.random = np.random.default_rng(actions)
        self.num_rows = 0
        self._episode = 0
        self._rows = _empty_rows(STREAM_STEPS)

    def append(
        self, frame: np.ndarray, action: int, reward: float, terminal: bool, truncated: bool
    ) -> None:
        """Appends a row. frame: uint8 [84, 84], before the action."""
        if self.num_rows == len(self._rows.action):
            grown = _empty_rows(2 * self.num_rows)
            for old, new in zip(self._rows, grown, strict=True):
                new[: self.num_rows] = old
            self._rows = grown
        values = (frame, action, reward, terminal, truncated, False, self._episode)
        for column, value in zip(self._rows, values, strict=True):
            column[self.num_rows] = value
        self.num_rows += 1
        self._episode += terminal or truncated

    def rows(self, limit: int) -> Rows:
        """The first `limit` rows. If this cuts an episode, its last row is marked truncated."""
        rows = Rows(*(column[: min(limit, self.num_rows)] for column in self._rows))
        rows.truncated[-1] = not rows.terminal[-1]
        return rows


def _empty_rows(count: int) -> Rows:
    columns = (np.empty(count, dtype) for dtype in COLUMNS.values())
    return Rows(np.empty((count, *FRAME_SHAPE), np.uint8), *columns)


def check_same_play(dataset: str, old: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Raises `UserError` unless a dataset with the attributes `old` was collected as `made`."""
    source = made["source"]
    if "head_sha256" in source:  # the weights identify the policy; its directory may have moved
        source = {**source, "policy": old.get("source", {}).get("policy")}
    check_same(dataset, old, {**made, "source": source})


class _Taken(NamedTuple):
    """Rows to store next."""

    rows: Rows
    whole_streams: int | None  # complete streams once these rows are stored; None: a part of one


class _Play:
    """Plays streams in parallel, one in each environment."""

    def __init__(
        self, envs: AtariEnvs, policy: Policy | None, epsilon: float, seed: int, next_stream: int
    ):
        self._envs, self._policy, self._epsilon, self._seed = envs, policy, epsilon, seed
        self._next_stream = next_stream
        self._playing: list[_Stream | None] = [None] * envs.num_envs
        self._waiting: dict[int, _Stream] = {}  # number -> stream that is not stored yet

    @property
    def num_rows(self) -> int:
        """Number of rows that are played but not stored yet."""
        return sum(stream.num_rows for stream in self._waiting.values())

    def begin_streams(self) -> None:
        """Begins a new stream in each environment without one."""
        begun = []
        idle = np.array([stream is None for stream in self._playing])
        for env in np.flatnonzero(idle).tolist():
            stream = _Stream(self._seed, self._next_stream)
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

    def take(self, room: int) -> _Taken | None:
        """Removes the next stream, if it is complete or has at least `room` rows; else None.

        Returns at most `room` rows of it.
        """
        if not self._waiting:
            return None
        first = self._waiting[min(self._waiting)]
        whole = first not in self._playing
        if not whole and first.num_rows < room:
            return None
        del self._waiting[first.number]
        is_stored = whole and first.num_rows <= room
        return _Taken(first.rows(room), first.number + 1 if is_stored else None)


def collect(
    envs: AtariEnvs,
    dataset: str,
    num_steps: int,
    made: Mapping[str, Any],
    *,
    policy: Policy | None,
    epsilon: float,
    seed: int,
) -> tuple[int, int]:
    """Extends the dataset to `num_steps` rows. Returns (number of rows, exit status).

    Args:
      envs: the environments.
      dataset: directory or gs:// path; made if it does not exist.
      num_steps: number of rows at the end.
      made: attributes of the dataset (game, protocol, source). They must equal the attributes of an
        existing dataset.
      policy: maps observations to actions or probabilities; None for uniformly random actions.
      epsilon: probability of a uniform action instead of the policy's.
      seed: seed of the streams.

    Raises:
      UserError: `dataset` was collected in another way, or is not a dataset of pvn.
    """
    writer = DatasetWriter(
        dataset,
        {**made, "complete": {"streams": 0, "rows": 0, "episodes": 0}},
        lambda old: check_same_play(dataset, old, made),
    )
    if writer.num_rows >= num_steps:
        return writer.num_rows, 0
    complete = writer.attributes["complete"]
    writer.rewind(complete["rows"], complete["episodes"])
    play = _Play(envs, policy, epsilon, seed, complete["streams"])
    returns: list[float] = []
    with (
        console.orderly_stop() as stop,
        console.progress(num_steps, "steps", f"collect {made['game']}", writer.num_rows) as bar,
    ):
        while (room := num_steps - writer.num_rows) > 0 and not stop:
            if play.num_rows < room:
                play.begin_streams()
            play.step()
            while room > 0 and (taken := play.take(room)):
                _store(writer, taken)
                returns += episode_returns(taken.rows)
                room = num_steps - writer.num_rows
                if returns:
                    mean = f"{len(returns)} episodes, mean return {np.mean(returns):.2f}"
                    bar.set_postfix_str(mean, refresh=False)
            bar.n = min(writer.num_rows + play.num_rows, num_steps)
            bar.update(0)
        return writer.num_rows, stop.status


def _store(writer: DatasetWriter, taken: _Taken) -> None:
    rows = taken.rows
    rows = rows._replace(episode=rows.episode + np.int32(writer.attributes["num_episodes"]))
    if taken.whole_streams is None:
        writer.commit(rows)
        return
    complete = {
        "streams": taken.whole_streams,
        "rows": writer.num_rows + len(rows.action),
        "episodes": int(rows.episode[-1]) + 1,
    }
    writer.commit(rows, complete=complete)


def episode_returns(rows: Rows) -> list[float]:
    """Undiscounted returns of the episodes with a terminal row. `rows` holds whole episodes."""
    sums = np.bincount(rows.episode - rows.episode[0], rows.reward)
    return list(sums[rows.episode[rows.terminal] - rows.episode[0]])


def load_policy(
    name: str, game: str, num_actions: int, num_envs: int
) -> tuple[Policy | None, dict[str, object], float]:
    """Returns (policy, or None for uniform play; its identity; its default epsilon).

    Args:
      name: the value of --policy.
      game, num_actions: the policy must fit them.
      num_envs: E.

    Raises:
      UserError: there is no such policy, it does not load, or it does not fit the game.
    """
    if name == "random":
        return None, {"policy": name}, 0.0
    if is_plugin(name) and not is_remote(name):
        return *load_own_policy(name, num_actions, num_envs), 0.0
    from pvn.evaluation import policy  # imported here because it imports JAX

    loaded = policy.load_policy(name)
    loaded.check_game(game, num_actions)
    identity = {key: loaded.metadata[key] for key in ("head_sha256", "features_sha256")}
    return loaded, {"policy": name, **identity}, 0.05


def main() -> int:
    game, seed = find_game(_GAME.value), _SEED.value
    policy, identity, epsilon = load_policy(
        _POLICY.value, game.name, game.num_actions, _NUM_ENVS.value
    )
    if _EPSILON.value is not None:
        epsilon = _EPSILON.value
    source = {"kind": "pvn.collect", "seed": seed, **identity}
    if policy is not None:
        source["epsilon"] = epsilon
    made = {
        "game": game.name,
        "num_actions": game.num_actions,
        "protocol": PROTOCOL,
        "source": source,
    }
    if _OVERWRITE.value and dataset_exists(_DATASET.value):
        delete_dataset(_DATASET.value)
    rows, status = collect(
        AtariEnvs(game.name, _NUM_ENVS.value),
        _DATASET.value,
        _NUM_STEPS.value,
        made,
        policy=policy,
        epsilon=epsilon,
        seed=seed,
    )
    console.say(
        f"{_DATASET.value}: {rows:,} steps of {game.name}"
        + ("; stopped early, the same command completes it" if status else "")
    )
    return status


if __name__ == "__main__":
    console.run(main)
