"""How many random sets are needed to learn the proto-value functions of four rooms.

    python -m pvn.tabular --config=configs/random_sets.py --workdir=runs/random_sets

Learns from 68 random sets, in which each state is with probability 0.1. Then learns from 100 to
30,000 sets, with the TD loss and with the Monte Carlo loss; see tasks.png, and `random_sets` in
subspace.json. Each batch has all states. A run takes about five minutes on 2 cores, most of them
for the 30,000 sets. `--config.task_counts="(100,1000)"` is faster.
"""

import ml_collections

from configs import four_rooms


def get_config() -> ml_collections.ConfigDict:
    config = four_rooms.get_config()
    config.indicator = "random_sets"
    config.task_counts = (100, 300, 1_000, 3_000, 10_000, 30_000)
    config.target_decay = 0.0
    config.num_steps = 4_000
    config.batch_size = 0
    config.learning_rate = 1e-2
    return config
