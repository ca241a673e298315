"""What a learner says about its memory, against what NumPy allocates."""

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from pvn.evaluation.fqi import FqiLearner, FqiSettings
from pvn.evaluation.learner import Learner, LearnerContext
from pvn.evaluation.replay import Replay
from pvn.evaluation.successor import SuccessorLearner, SuccessorSettings
from pvn.features import random_features
from pvn.features.successor import Task
from pvn.types import ATARI

NUM_FEATURES, NUM_ACTIONS, NUM_TASKS = 256, 6, 200


class Heads:
    """T tasks with one discount."""

    head_kernel = np.zeros((NUM_FEATURES, NUM_TASKS, NUM_ACTIONS), np.float32)
    head_bias = np.zeros((NUM_TASKS, NUM_ACTIONS), np.float32)
    discount = np.full(NUM_TASKS, np.float32(0.9))
    task = Task("random_network", {}, [0.9], "td", "uniform")


def fqi(**settings: bool) -> Learner:
    features = random_features(num_features=NUM_FEATURES)
    context = LearnerContext(features, NUM_ACTIONS, 4, 0.9, 1, True, 0, 0, ATARI)
    return FqiLearner(context, FqiSettings(**settings))


def successor() -> Learner:
    features = random_features(num_features=NUM_FEATURES)
    features.__dict__["successor"] = Heads()  # in place of those that are read from a directory
    context = LearnerContext(features, NUM_ACTIONS, 4, 0.9, 1, True, 0, 0, ATARI)
    return SuccessorLearner(context, SuccessorSettings())


@pytest.mark.parametrize(
    ("make", "width", "length"),
    [
        (fqi, NUM_FEATURES, 5_000),
        (partial(fqi, double=True), NUM_FEATURES, 5_000),
        (partial(fqi, double=True), NUM_FEATURES, 500),  # the moments take more than the rows
        (successor, NUM_TASKS, 5_000),
    ],
    ids=["fqi", "fqi double", "fqi of few rows", "successor"],
)
def test_a_replay_and_a_fit_take_the_memory_that_the_learner_says(
    make: Callable[[], Learner], width: int, length: int
) -> None:
    num_envs, random = 4, np.random.default_rng(0)
    no = np.zeros(num_envs, bool)
    make()  # what JAX compiles at first does not count
    tracemalloc.start()
    try:
        learner = make()
        states = learner.state_buffer(length, num_envs)
        replay = Replay(length, num_envs, states, n_step=1, discount=0.9)
        for _ in range(length):
            replay.add(
                random.random((num_envs, width), np.float32),
                random.integers(NUM_ACTIONS, size=num_envs),
                random.random(num_envs),
                random.random(num_envs) < 0.01,
                no,
            )
        learner.finish(replay, length * num_envs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert learner.num_fits == 1
    assert 0.9 < peak / learner.replay_bytes(length * num_envs) < 1.1
