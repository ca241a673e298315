"""The published values: Impala width 8, F 4,096, batch 256, 100 tasks thresholded by regression.

    python -m pvn.pretrain --config=configs/pretrain_published.py \
        --config.dataset=data/pong --workdir=runs/pong_published

Farebrother et al. 2023, by the defaults of the published code (its own comment calls them a sane
start, not each experiment's values), on 50 million transitions of a DQN agent's replay. A step is
6.8 TFLOP and the state holds 133 million parameters four times over (2.1 GB): this is for GPUs
and TPUs. On 2 cores a step takes minutes; configs/pretrain.py is for those.

Where this differs from the published code on purpose: Adam and the target average do not run
during warm-up. As published, about half of the tasks are dead (metric `dead_tasks`) because the
random networks end in a ReLU; `--config.random_network.final_relu=False` mends that, and
`--config.random_network.threshold_from=dataset --config.warmup_steps=0` has the right proportion at
once.
"""

import ml_collections

from configs import pretrain


def get_config() -> ml_collections.ConfigDict:
    config = pretrain.get_config()
    config.dataset = "data/pong"
    config.encoder = "impala"
    config.width = 8
    config.num_features = 4096
    config.num_tasks = 100
    config.random_network.proportion = 0.01
    config.random_network.threshold_from = "quantile_regression"
    config.random_network.tasks_per_network = 10
    config.random_network.final_relu = True
    config.discount = 0.99
    config.num_steps = 25 * 62_500
    config.batch_size = 256
    config.learning_rate = 6.25e-5
    config.adam_epsilon = 1.5e-4
    config.warmup_steps = 62_500
    config.threshold_learning_rate = 6.25e-5
    config.log_every = 1000
    config.checkpoint_every = 62_500
    return config
