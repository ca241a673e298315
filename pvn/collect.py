"""Plays a game and stores what was seen: the emulator in, a dataset out.

    python -m pvn.collect --game=Pong --num_steps=100000 --policy=random --seed=0 \
        --dataset=data/pong

The data are a chain of streams. A stream is whole episodes, played from a freshly booted emulator
until they have `STREAM_STEPS` rows, and a pure function of (seed, number of the stream) and the
policy. So the same seed gives the same bytes, an interrupted collection goes on at the first
stream that is not stored, and a larger `--num_steps` extends a dataset. Only the last stream is
cut, and the cut episode is marked truncated. Random play does not depend on `--num_envs` either;
a network's last digits may depend on the size of its batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.data.store import Rows, dataset_exists
from pvn.data.writer import DatasetWriter, check_same, delete_dataset
from pvn.envs.atari import PROTOCOL, AtariEnvs

_GAME = flags.DEFINE_string("game", "Pong", "Game, as gymnasium spells it: MsPacman.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", 100_000, "Agent steps to store.", lower_bound=1)
_POLICY = cfg.define_path(
    "policy",
    "random",
    "`random` (uniform), or the directory of a finished pvn.evaluate run.",
    words=("random",),
)
_EPSILON = flags.DEFINE_float(
    "epsilon", 0.05, "Probability of a uniform action under a loaded policy.", 0.0, 1.0
)
_SEED = cfg.define_seed("Seed of emulators and actions.")
_DATASET = cfg.define_path(
    "dataset", None, "Directory to write (or gs://...).", required=True, local=False
)
_NUM_ENVS = flags.DEFINE_integer("num_envs", 8, "Emulators side by side.", lower_bound=1)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete a dataset that is already there.")

STREAM_STEPS = 2048

Policy = Callable[[np.ndarray], np.ndarray]  # uint8 [E, 84, 84, 4] -> greedy action [E]


class _Row(NamedTuple):
    frame: np.ndarray
    action: int
    reward: float
    terminal: bool
    truncated: bool
    episode: int  # within the stream


class _Stream:
    """One stream while it is played: its random numbers and its rows so far."""

    def __init__(self, seed: int, number: int):
        self.number = number
        self.rows: list[_Row] = []
        emulator, actions = np.random.SeedSequence([seed, number]).spawn(2)
        self.emulator_seed = int(emulator.generate_state(1)[0]) >> 1  # the emulator takes 31 bits
        self.random = np.random.default_rng(actions)
        self.episode = 0

    def action(self, greedy: int | None, epsilon: float, num_actions: int) -> int:
        explore = greedy is None or self.random.random() < epsilon
        return int(self.random.integers(num_actions)) if explore else int(greedy or 0)


def _to_rows(stream: _Stream, first_episode: int, limit: int) -> Rows:
    """The first `limit` rows of a stream; if that cuts an episode, the last is truncated."""
    frame, action, reward, terminal, truncated, episode = zip(*stream.rows[:limit], strict=True)
    rows = Rows(
        frame=np.stack(frame),
        action=np.array(action, np.int32),
        reward=np.array(reward, np.float32),
        terminal=np.array(terminal),
        truncated=np.array(truncated),
        cut_start=np.zeros(len(action), bool),
        episode=np.array(episode, np.int32) + np.int32(first_episode),
    )
    rows.truncated[-1] = not rows.terminal[-1]
    return rows


def collect(
    *,
    game: str,
    num_steps: int,
    policy: Policy | None,
    policy_source: Mapping[str, str],
    epsilon: float,
    seed: int,
    dataset: str,
    num_envs: int,
) -> tuple[int, int]:
    """Brings the dataset to `num_steps` rows. Returns (rows now, exit status).

    Args:
      policy: greedy actions of observations, or None for uniformly random play.
      policy_source, epsilon: recorded with the data; they must not differ on a second call.
      num_envs: emulators side by side; does not change what random play stores.

    Raises:
      UserError: unknown game; `dataset` was collected otherwise or is not ours.
    """
    envs = AtariEnvs(game, num_envs)
    source: dict[str, Any] = {"kind": "pvn.collect", "seed": seed, **policy_source}
    if policy is not None:
        source["epsilon"] = epsilon
    made = {
        "game": game,
        "num_actions": envs.num_actions,
        "protocol": PROTOCOL,
        "source": source,
    }
    writer = DatasetWriter(
        dataset,
        {**made, "complete": {"streams": 0, "rows": 0, "episodes": 0}},
        lambda old: check_same(dataset, old, made),
    )
    if writer.num_rows >= num_steps:
        return writer.num_rows, 0

    complete = writer.attributes["complete"]
    writer.rewind(complete["rows"], complete["episodes"])
    next_stream = complete["streams"]
    playing: list[_Stream | None] = [None] * num_envs  # the stream of each environment
    waiting: dict[int, _Stream] = {}  # begun, not yet stored, by number
    returns: list[float] = []

    with (
        console.orderly_stop() as stop,
        console.progress(num_steps, "steps", f"collect {game}", writer.num_rows) as bar,
    ):
        while writer.num_rows < num_steps and not stop:
            begun = writer.num_rows + sum(len(s.rows) for s in waiting.values())
            idle = np.array([s is None for s in playing])
            if begun >= num_steps:
                idle[:] = False  # enough is under way
            for env in np.flatnonzero(idle).tolist():
                playing[env] = waiting[next_stream] = _Stream(seed, next_stream)
                next_stream += 1
            if idle.any():
                fresh = [s.emulator_seed for s, new in zip(playing, idle, strict=True) if s and new]
                envs.reset(np.array(fresh), idle)

            greedy = policy(envs.observation) if policy else [None] * num_envs
            action = np.array(
                [
                    s.action(g, epsilon, envs.num_actions) if s else 0
                    for s, g in zip(playing, greedy, strict=True)
                ]
            )
            frames = envs.observation[..., -1].copy()
            step = envs.step(action)
            ended = step.terminal | step.truncated
            for env, stream in enumerate(playing):
                if stream is None:
                    continue
                stream.rows.append(
                    _Row(
                        frames[env],
                        action[env],
                        step.reward[env],
                        step.terminal[env],
                        step.truncated[env],
                        stream.episode,
                    )
                )
                if ended[env]:
                    stream.episode += 1
                    if len(stream.rows) >= STREAM_STEPS:
                        playing[env] = None
            if ended.any():
                envs.restart(ended)

            # Store what is finished, in the order of the streams.
            while waiting:
                first = waiting[min(waiting)]
                room = num_steps - writer.num_rows
                whole = first not in playing
                if not whole and len(first.rows) < room:
                    break
                rows = _to_rows(first, writer.attributes["num_episodes"], room)
                if whole and len(first.rows) <= room:
                    complete = {
                        "streams": first.number + 1,
                        "rows": writer.num_rows + len(rows.action),
                        "episodes": int(rows.episode[-1]) + 1,
                    }
                writer.commit(rows, complete=complete)
                returns += _returns(rows)
                del waiting[first.number]
                if returns:
                    bar.set_postfix_str(
                        f"{len(returns)} episodes, return {np.mean(returns):.2f}", refresh=False
                    )
                if writer.num_rows >= num_steps:
                    break
            bar.n = writer.num_rows + sum(len(s.rows) for s in waiting.values())
            bar.n = min(bar.n, num_steps)
            bar.update(0)
        return writer.num_rows, stop.status


def _returns(rows: Rows) -> list[float]:
    """Undiscounted returns of the episodes that ended."""
    sums = np.bincount(rows.episode - rows.episode[0], rows.reward)
    return list(sums[rows.episode[rows.terminal] - rows.episode[0]])


def main() -> int:
    num_actions = AtariEnvs(_GAME.value, 1).num_actions
    policy: Policy | None = None
    source = {"policy": _POLICY.value}
    if _POLICY.value != "random":
        from pvn.evaluation.policy import load_policy  # JAX is only needed here

        loaded = load_policy(_POLICY.value)
        loaded.check_game(_GAME.value, num_actions)
        source |= {key: loaded.metadata[key] for key in ("head_sha256", "features_sha256")}
        policy = loaded
    if _OVERWRITE.value and dataset_exists(_DATASET.value):
        delete_dataset(_DATASET.value)
    rows, status = collect(
        game=_GAME.value,
        num_steps=_NUM_STEPS.value,
        policy=policy,
        policy_source=source,
        epsilon=_EPSILON.value,
        seed=_SEED.value,
        dataset=_DATASET.value,
        num_envs=_NUM_ENVS.value,
    )
    console.say(
        f"{_DATASET.value}: {rows:,} steps of {_GAME.value}"
        + ("; stopped early, the same command completes it" if status else "")
    )
    return status


if __name__ == "__main__":
    console.run(main)
