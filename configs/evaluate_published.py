"""The published linear evaluation: double-Q by gradients, one million interactions.

    python -m pvn.evaluate --config=configs/evaluate_published.py --features=runs/pong \
        --workdir=runs/pong/eval_published

(Farebrother et al. 2023, with the values of the published code; the abstract speaks of some four
million interactions.) At F = 512 the replay takes 2 GiB, at the published F = 4,096 16 GiB.
`python -m benchmarks.evaluate` tells the agent steps/s of this machine. 120,000 interactions showed
nothing yet on Pong: use configs/evaluate.py where you have minutes.
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
    return config
