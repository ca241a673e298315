"""How many random sets it takes to find the proto-value functions of four rooms.

    python -m pvn.tabular --config=configs/random_sets.py --workdir=runs/random_sets

Learns from 68 sets, each state a member with probability 0.1, then from 100 to 30,000, with a TD
and with a Monte Carlo loss (`tasks.png`, `random_sets` in subspace.json), all states in each batch.
Some five minutes on 2 cores, most of it for the 30,000; for less,
`--config.task_counts="(100,1000)"`.
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
