"""Every learner goes on from its stored state as if it had not stopped."""

import io

import numpy as np
import pytest

from pvn.evaluation.fqi import FqiSettings
from pvn.evaluation.learner import Learner, LearnerContext
from pvn.evaluation.q_learning import DqnSettings
from pvn.evaluation.registry import SECTIONS, make_learner
from pvn.evaluation.replay import FeatureBuffer, Replay
from pvn.evaluation.state import State
from pvn.types import ATARI
from tests.evaluation.pixels import pixel_features

ENVS, FEATURES, ACTIONS = 1000, 4, 3
SETTINGS = {
    "fqi": FqiSettings(refit_every=6_000, sweeps=3),
    "dqn": DqnSettings(update_every=1_000, learning_rate=0.1, target_period=3_000),
}


def new_learner(name: str) -> Learner:
    context = LearnerContext(
        features=pixel_features(FEATURES),
        num_actions=ACTIONS,
        num_envs=ENVS,
        discount=0.9,
        n_step=2,
        clip_rewards=True,
        learn_after=4_000,
        seed=5,
        observation=ATARI,
    )
    config = {section: settings()._asdict() for section, settings in SECTIONS.items()}
    head, _, variant = name.partition(" ")
    config |= {section: settings._asdict() for section, settings in SETTINGS.items()}
    if variant:
        config["dqn"] |= {"priority_exponent": 0.5, "hidden_units": (5,), "double": False}
    return make_learner(head, context, config)


def stored(state: State) -> State:
    """The state after it was written to a file and read."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **state)
    file.seek(0)
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["fqi", "dqn", "c51", "dqn prioritised"])
@pytest.mark.parametrize("stop", [2, 13])
def test_a_restored_learner_goes_on_bit_for_bit(name: str, stop: int) -> None:
    """24 timesteps of 1,000 agent steps, with a restored learner from timestep `stop` on."""
    random = np.random.default_rng(0)
    replay = Replay(12, ENVS, FeatureBuffer(12, ENVS, FEATURES), n_step=2, discount=0.9)
    learner, other = new_learner(name), None
    logged = []
    for timestep in range(1, 25):
        replay.add(
            random.normal(size=(ENVS, FEATURES)).astype(np.float32),
            random.integers(ACTIONS, size=ENVS),
            random.normal(size=ENVS).astype(np.float32),
            random.random(ENVS) < 0.1,
            np.zeros(ENVS, bool),
        )
        if replay.has_starts:
            logged.append(learner.learn(replay, timestep * ENVS))
            if other:
                assert other.learn(replay, timestep * ENVS) == logged[-1]
        if timestep == stop:
            other = new_learner(name)
            other.restore(stored(learner.state()))
    assert other is not None
    logged.append(learner.finish(replay, 24 * ENVS))
    assert other.finish(replay, 24 * ENVS) == logged[-1]
    assert sum(map(bool, logged)) >= 2
    assert other.num_fits == learner.num_fits > 1
    assert other.diverged_fits == learner.diverged_fits
    state, same = learner.state(), other.state()
    assert same.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(same[key], value)
        assert same[key].dtype == value.dtype
    assert np.asarray(other.policy().head[-1].kernel).any()
