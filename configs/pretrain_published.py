"""The published values: Impala of width 8, F = 4,096, batch size 256, 100 tasks.

    python -m pvn.pretrain --config=configs/pretrain_published.py \
        --config.dataset=data/pong --workdir=runs/pong_published

They are the defaults of the published code of Farebrother et al. (2023), for 50 million transitions
of a DQN agent's replay. A comment in that code calls them a sane start, not the values of each
experiment. A step takes 6.4 TFLOP, and the train state holds 135 million parameters four times
(2.2 GB), says `--dry_run`. So this config is for GPUs and TPUs. On 2 cores a step takes minutes:
use configs/pretrain.py there.

About half of the tasks are dead (metric `dead_tasks`), because the random networks end in a ReLU.
`--config.random_network.final_relu=False` avoids that. With
`--config.random_network.threshold_from=dataset --config.warmup_steps=0` the tasks have the right
proportion from the first step. README lists the differences from the published code.
"""

import ml_collections

from configs import pretrain


def get_config() -> ml_collections.ConfigDict:
    config = pretrain.get_config()
    config.dataset = "data/pong"
    config.encoder = "impala"
    config.width = 8
    config.num_features = 4096
    config.feature_norm = "none"
    config.num_tasks = 100
    config.indicator = "random_network"
    config.cumulants = "raw"
    config.random_network.proportion = 0.01
    config.random_network.threshold_from = "quantile_regression"
    config.random_network.tasks_per_network = 10
    config.random_network.final_relu = True
    config.discount = (0.99,)
    config.num_steps = 25 * 62_500
    config.batch_size = 256
    config.learning_rate = 6.25e-5
    config.adam_epsilon = 1.5e-4
    config.warmup_steps = 62_500
    config.threshold_learning_rate = 6.25e-5
    config.log_every = 1000
    config.checkpoint_every = 62_500
    return config
