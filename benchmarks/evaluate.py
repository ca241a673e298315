"""How fast evaluation is, compared with the bare emulator.

    python -m benchmarks.evaluate [--num_envs=32] [--num_steps=60000]
    python -m benchmarks.evaluate --end_to_end --num_envs=8 --num_steps=4000

Prints one JSON line for each learner, in agent steps/s: the learning phase of `pvn.evaluate` on a
Nature encoder, with all updates and fits, and the bare emulator with as many environments under
random actions. The emulator is timed before and after each learner; its speed is that of both
times together. With --end_to_end the learner is DQN from pixels (configs/evaluate_end_to_end.py),
and the line has the share of its time that the same updates take alone, on one batch, and the share
that acting and emulation take alone, without updates.
"""

import time

import jax
import ml_collections
import numpy as np
from absl import flags

from benchmarks.measure import print_row
from configs import evaluate as evaluate_config
from configs import evaluate_end_to_end
from pvn.agent import new_learner, new_replay
from pvn.envs.environment import Environments
from pvn.envs.registry import make_envs, observation_of_game
from pvn.evaluation.dqn import DqnLearner
from pvn.evaluation.learner import Learner
from pvn.evaluation.replay import Replay
from pvn.evaluation.rollout import Rollout, interact
from pvn.evaluation.sampling import draw_uniform
from pvn.evaluation.subject import Subject
from pvn.features import random_features
from pvn.runs import console

_GAME = flags.DEFINE_string("game", "Breakout", "Game.")
_NUM_ENVS = flags.DEFINE_integer("num_envs", 32, "Number of environments.", lower_bound=1)
_END_TO_END = flags.DEFINE_bool("end_to_end", False, "Time DQN from pixels.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", 60_000, "Agent steps a case.", lower_bound=100)

_UPDATES = 100  # of which `update_seconds` is the mean


def emulator_speed(envs: Environments, num_steps: int) -> float:
    """Agent steps/s of random play, with the restarts of ended episodes."""
    random = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(num_steps // envs.num_envs):
        step = envs.step(random.integers(envs.num_actions, size=envs.num_envs))
        ended = step.terminal | step.truncated
        if ended.any():
            envs.restart(ended)
    return num_steps / (time.perf_counter() - began)


def learn(
    envs: Environments, c: ml_collections.ConfigDict, num_steps: int
) -> tuple[float, Learner, Replay]:
    """Seconds of the learning phase of pvn.evaluate with config `c`; the learner and its replay."""
    c.num_envs, c.num_steps = envs.num_envs, num_steps
    subject = Subject(
        random_features(observation_shape=observation_of_game(_GAME.value).shape),
        _GAME.value,
        "random_features",
    )
    learner = new_learner(c, subject, envs.num_actions, envs.num_envs)
    replay = new_replay(c, learner, envs.num_envs, num_steps)
    steps = interact(
        Rollout(envs, seed=0),
        learner,
        replay,
        num_steps=num_steps,
        epsilon=lambda step: 0.05,
        clip_rewards=True,
    )
    began = time.perf_counter()
    for _ in steps:
        pass
    jax.block_until_ready(learner.policy().head)
    return time.perf_counter() - began, learner, replay


def update_seconds(learner: DqnLearner, replay: Replay) -> float:
    """Seconds of one update on a batch that is on the device: the matrix work alone."""
    draw = draw_uniform(replay, np.random.default_rng(0), 32)
    batch = jax.device_put(replay.gather(draw.time, draw.env))
    state = learner.train_state
    began = time.perf_counter()
    for _ in range(_UPDATES):
        state, _ = learner.update(state, batch, draw.weight)
    jax.block_until_ready(state)
    return (time.perf_counter() - began) / _UPDATES


def main() -> int:
    envs = make_envs(_GAME.value, _NUM_ENVS.value)
    envs.reset(np.arange(_NUM_ENVS.value), np.ones(_NUM_ENVS.value, bool))
    num_steps = _NUM_STEPS.value
    if _END_TO_END.value:
        c = evaluate_end_to_end.get_config()
        c.learn_after = 500
        seconds, learner, replay = learn(envs, c, num_steps)
        c.learn_after = num_steps
        without_updates, *_ = learn(envs, c, num_steps)
        assert isinstance(learner, DqnLearner)
        alone = update_seconds(learner, replay) * learner.num_fits
        print_row(
            case="end_to_end",
            game=_GAME.value,
            num_envs=_NUM_ENVS.value,
            agent_steps_per_second=num_steps / seconds,
            share_of_updates=alone / seconds,
            share_without_updates=without_updates / seconds,
        )
        return 0
    for head in ("fqi", "dqn"):
        before = emulator_speed(envs, num_steps)
        c = evaluate_config.get_config()
        c.head = head
        seconds, *_ = learn(envs, c, num_steps)
        envs.restart(np.ones(_NUM_ENVS.value, bool))
        after = emulator_speed(envs, num_steps)
        bare = 2 / (1 / before + 1 / after)
        print_row(
            case=head,
            game=_GAME.value,
            num_envs=_NUM_ENVS.value,
            agent_steps_per_second=num_steps / seconds,
            emulator_steps_per_second=bare,
            share_of_emulator=num_steps / seconds / bare,
        )
    return 0


if __name__ == "__main__":
    console.run(main)
