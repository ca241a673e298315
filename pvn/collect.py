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

The emulators that play do not show their RAM. Other processes therefore play each finished stream
again and read it, while the next streams are played. `--noram` leaves it out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags

from pvn.data.layout import Rows, frame_attribute
from pvn.data.store import dataset_exists
from pvn.data.writer import DatasetWriter, delete_dataset
from pvn.envs.environment import Environments
from pvn.envs.games import find_game
from pvn.envs.policies import Policy, load_own_policy
from pvn.envs.registry import make_envs, observation_of_game, protocol_of
from pvn.envs.workers import Workers
from pvn.errors import UserError
from pvn.play import Play, Taken, check_same_play
from pvn.plugins import is_plugin
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.storage.paths import is_remote

_GAME = flags.DEFINE_string(
    "game", "Pong", "Game, by its name in gymnasium: MsPacman, MinAtar/Breakout."
)
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
_RAM = flags.DEFINE_bool(
    "ram",
    None,
    "Store the emulator's 128 bytes of RAM at each step. Default: for games that have it.",
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the dataset at --dataset first.")


def collect(
    envs: Environments,
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
      made: attributes of the dataset (game, protocol, source; "ram": true to store RAM). They must
        equal the attributes of an existing dataset.
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
    returns: list[float] = []
    with (
        Workers() as workers,
        console.orderly_stop() as stop,
        console.progress(num_steps, "steps", f"collect {made['game']}", writer.num_rows) as bar,
    ):
        play = Play(
            envs,
            policy=policy,
            epsilon=epsilon,
            seed=seed,
            next_stream=complete["streams"],
            workers=workers if made.get("ram") else None,
        )
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


def _store(writer: DatasetWriter, taken: Taken) -> None:
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
    name: str, game: str, num_actions: int, shape: tuple[int, ...]
) -> tuple[Policy | None, dict[str, object], float]:
    """Returns (policy, or None for uniform play; its identity; its default epsilon).

    Args:
      name: the value of --policy.
      game, num_actions: the policy must fit them.
      shape: of the observations, (E, H, W, C).

    Raises:
      UserError: there is no such policy, it does not load, or it does not fit the game.
    """
    if name == "random":
        return None, {"policy": name}, 0.0
    if is_plugin(name) and not is_remote(name):
        return *load_own_policy(name, num_actions, shape), 0.0
    from pvn.evaluation import policy  # imported here because it imports JAX

    loaded = policy.load_policy(name)
    loaded.check_game(game, num_actions)
    identity = {key: loaded.metadata[key] for key in ("head_sha256", "features_sha256")}
    return loaded, {"policy": name, **identity}, 0.05


def main() -> int:
    game, seed = find_game(_GAME.value), _SEED.value
    observation, ram = observation_of_game(game.name), _RAM.value
    if ram and game.is_minatar:
        raise UserError(f"--ram: {game.name} has no RAM; leave the flag out")
    policy, identity, epsilon = load_policy(
        _POLICY.value, game.name, game.num_actions, (_NUM_ENVS.value, *observation.shape)
    )
    if _EPSILON.value is not None:
        epsilon = _EPSILON.value
    source = {"kind": "pvn.collect", "seed": seed, **identity}
    if policy is not None:
        source["epsilon"] = epsilon
    made = {
        "game": game.name,
        "num_actions": game.num_actions,
        "protocol": protocol_of(game.name),
        "source": source,
        **frame_attribute(observation),
    } | ({} if game.is_minatar or ram is False else {"ram": True})
    if _OVERWRITE.value and dataset_exists(_DATASET.value):
        delete_dataset(_DATASET.value)
    rows, status = collect(
        make_envs(game.name, _NUM_ENVS.value),
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
