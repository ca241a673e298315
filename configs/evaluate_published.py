"""The published linear evaluation: double Q-learning by gradients, one million interactions.

    python -m pvn.evaluate --config=configs/evaluate_published.py --features=runs/pong \
        --workdir=runs/pong/eval_published

The values are those of the published code of Farebrother et al. (2023), but that plays without
sticky actions (NoFrameskip-v4), and acts with epsilon 0.01 from the first step (here the first
2,000 steps are random). Their abstract says about four million interactions. The replay takes 2 GiB
with F = 512, and 16 GiB with the published F = 4,096; checkpoints take as much disk. `python -m
benchmarks.evaluate` measures the agent steps a second. On Pong, with a squared loss and a target
period of 2,000, the agent learned nothing in the first 120,000 interactions: if you only have
minutes, use configs/evaluate.py.
"""

import ml_collections

from configs import evaluate


def get_config() -> ml_collections.ConfigDict:
    config = evaluate.get_config()
    config.head = "dqn"
    config.num_steps = 1_000_000
    config.epsilon_start = 0.01
    config.epsilon_end = 0.01
    config.replay_capacity = 1_000_000
    config.learn_after = 2_000
    config.dqn.target_period = 8_000  # published: 2,000 updates, one every 4 agent steps
    config.value.huber_delta = 1.0
    config.checkpoint_every = 50_000
    return config
