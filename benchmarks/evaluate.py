"""How fast linear evaluation is, compared with the bare emulator.

    python -m benchmarks.evaluate [--num_envs=32] [--num_steps=60000]

Prints one JSON line for each learner, in agent steps/s: the learning phase of `pvn.evaluate` on a
Nature encoder, with all updates and fits, and the bare emulator with as many environments under
random actions. The emulator is timed before and after each learner; its speed is that of both
times together.
"""

import time

import numpy as np
from absl import flags

from benchmarks.measure import print_row
from configs import evaluate as evaluate_config
from pvn import console
from pvn.envs.atari import AtariEnvs
from pvn.evaluation.head import make_act
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.registry import make_learner
from pvn.evaluation.replay import FeatureReplay
from pvn.evaluation.rollout import Rollout, interact
from pvn.features import random_features

_GAME = flags.DEFINE_string("game", "Breakout", "Game.")
_NUM_ENVS = flags.DEFINE_integer("num_envs", 32, "Number of environments.", lower_bound=1)
_NUM_STEPS = flags.DEFINE_integer("num_steps", 60_000, "Agent steps a case.", lower_bound=1000)


def emulator_speed(envs: AtariEnvs, num_steps: int) -> float:
    """Agent steps/s of random play, with the restarts of ended episodes."""
    random = np.random.default_rng(0)
    began = time.perf_counter()
    for _ in range(num_steps // envs.num_envs):
        step = envs.step(random.integers(envs.num_actions, size=envs.num_envs))
        ended = step.terminal | step.truncated
        if ended.any():
            envs.restart(ended)
    return num_steps / (time.perf_counter() - began)


def learning_speed(envs: AtariEnvs, head: str, num_steps: int) -> float:
    """Agent steps/s of the learning phase of pvn.evaluate. head: "fqi" or "dqn"."""
    c = evaluate_config.get_config()
    c.num_envs = envs.num_envs
    features = random_features()
    rollout = Rollout(envs, make_act(features), seed=0)
    replay = FeatureReplay(
        num_steps // envs.num_envs,
        envs.num_envs,
        features.num_features,
        n_step=c.n_step,
        discount=c.discount,
    )
    context = LearnerContext(
        num_features=features.num_features,
        num_actions=envs.num_actions,
        **{name: c[name] for name in LearnerContext._fields if name in c},
    )
    learner = make_learner(head, context, c[head])
    steps = interact(
        rollout,
        learner,
        replay,
        num_steps=num_steps,
        epsilon=lambda step: 0.05,
        clip_rewards=True,
    )
    began = time.perf_counter()
    for _ in steps:
        pass
    return num_steps / (time.perf_counter() - began)


def main() -> int:
    envs = AtariEnvs(_GAME.value, _NUM_ENVS.value)
    envs.reset(np.arange(_NUM_ENVS.value), np.ones(_NUM_ENVS.value, bool))
    for head in ("fqi", "dqn"):
        before = emulator_speed(envs, _NUM_STEPS.value)
        speed = learning_speed(envs, head, _NUM_STEPS.value)
        envs.restart(np.ones(_NUM_ENVS.value, bool))
        after = emulator_speed(envs, _NUM_STEPS.value)
        bare = 2 / (1 / before + 1 / after)
        print_row(
            case=head,
            game=_GAME.value,
            num_envs=_NUM_ENVS.value,
            agent_steps_per_second=speed,
            emulator_steps_per_second=bare,
            share_of_emulator=speed / bare,
        )
    return 0


if __name__ == "__main__":
    console.run(main)
