from pathlib import Path

import numpy as np
import pytest

from pvn.data.verify import problems
from pvn.envs.atari import AtariEnvs
from pvn.envs.protocol import PROTOCOL
from pvn.evaluation import stream
from pvn.evaluation.rollout import Rollout
from pvn.evaluation.stream import EpisodeStore, Position
from tests.datasets import read_dataset

ATTRIBUTES = {"game": "Breakout", "num_actions": 4, "protocol": PROTOCOL, "source": {"seed": 1}}


@pytest.fixture(scope="module")
def played():
    """400 timesteps of random play in two environments, and their episodes."""
    rollout = Rollout(AtariEnvs("Breakout", 2), seed=1)
    steps = [rollout.take(rollout.choose(None, 1.0)[0])[0] for _ in range(400)]
    return steps, rollout.episodes


def test_the_dataset_holds_what_was_played(tmp_path: Path, played) -> None:
    steps, episodes = played
    assert len(episodes) >= 3
    store = EpisodeStore(tmp_path / "data", ATTRIBUTES, 2, Position())
    for step in steps:
        store.add(step)
    assert store.close() == Position(800, len(episodes) + 2)
    dataset = read_dataset(tmp_path / "data")
    assert not list(problems(dataset))
    rows, start = dataset.rows, 0
    timestep = [0, 0]
    running = [(env, None, 400 - sum(e.length for e in episodes if e.env == env)) for env in (0, 1)]
    for number, (env, episode_return, length) in enumerate([*episodes, *running]):
        own = slice(start, start + length)
        assert (rows.episode[own] == number).all()
        expected = steps[timestep[env] : timestep[env] + length]
        for name, column in (
            ("frame", rows.frame),
            ("action", rows.action),
            ("reward", rows.reward),
        ):
            found = np.stack([getattr(step, name)[env] for step in expected])
            np.testing.assert_array_equal(column[own], found)
        if episode_return is not None:
            assert rows.reward[own].sum() == episode_return
        assert rows.terminal[own].sum() == (episode_return is not None)
        assert rows.truncated[own].tolist() == [False] * (length - 1) + [episode_return is None]
        timestep[env], start = timestep[env] + length, start + length


def test_a_resumed_store_has_the_same_rows(tmp_path: Path, played, monkeypatch) -> None:
    monkeypatch.setattr(stream, "_COMMIT_ROWS", 150)
    steps, _ = played
    whole = EpisodeStore(tmp_path / "whole", ATTRIBUTES, 2, Position())
    for step in steps:
        whole.add(step)
    whole.close()
    stored = Position()
    for stop in (230, 330, 400):  # killed after the checkpoints at 180 and 300
        store = EpisodeStore(tmp_path / "killed", ATTRIBUTES, 2, stored)
        for number, step in enumerate(steps[:stop]):
            store.add(step)
            if number in (180, 300):
                stored = store.flush()
        if stop == 400:
            store.close()
        else:
            store._writer._lock.release()
    one, other = (read_dataset(tmp_path / name).rows for name in ("whole", "killed"))
    for expected, found in zip(one, other, strict=True):
        np.testing.assert_array_equal(found, expected)
