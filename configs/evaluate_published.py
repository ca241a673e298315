"""The published linear evaluation: double-Q by gradients, one million interactions.

    python -m pvn.evaluate --config=configs/evaluate_published.py --features=runs/pong \
        --workdir=runs/pong/eval_published

Values are those of the published code of Farebrother et al. (2023); their abstract speaks of some
four million interactions. The replay takes 2 GiB at F = 512, and 16 GiB at the published F = 4,096.
`python -m benchmarks.evaluate` measures the agent steps/s of a machine. On Pong nothing was learned
in the first 120,000 interactions: use configs/evaluate.py where you have minutes.
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
