"""Pretraining on a game of MinAtar, 100 local tasks of 1,600: one to two minutes on a laptop.

    python -m pvn.collect --game=MinAtar/Breakout --num_steps=100000 --dataset=data/minatar
    python -m pvn.pretrain --config=configs/pretrain_minatar.py \
        --config.dataset=data/minatar --config.num_steps=5000 --config.candidates_per_task=1 \
        --workdir=runs/minatar
    python -m pvn.evaluate --features=runs/minatar --workdir=runs/minatar/eval

The tasks are those that the agent controls most, and each has its own policy, which is greedy for
it (results/minatar_greedy/README.md). The choice and the 20,000 steps below are for data of mixed
quality; on random play alone, as here, tasks as drawn and 5,000 steps were better. Fields that are
not here are explained in configs/pretrain.py.
"""

import ml_collections

from configs import pretrain


def get_config() -> ml_collections.ConfigDict:
    config = pretrain.get_config()
    config.dataset = "data/minatar"
    config.encoder = "minatar"
    config.num_features = 256
    config.num_tasks = 100
    config.candidates_per_task = 16
    config.local_network.tasks_per_network = 1_600  # all units
    config.target_policy = "greedy"
    config.learning_rate = 1e-3
    config.num_steps = 20_000
    config.log_every = 1_000
    return config
