"""Pretraining on a laptop: a Nature encoder, 500 local tasks, about 85 ms a step.

    python -m pvn.collect --game=Breakout --num_steps=50000 --dataset=data/breakout
    python -m pvn.pretrain --config=configs/pretrain.py \
        --config.dataset=data/breakout --workdir=runs/breakout

On 2 cores the responses take half a minute and the 4,500 steps six and a half minutes. On random
play of Breakout, seed 0, expect `explained_variance` above 0.9 within 1,500 steps, and R^2 0.65 for
a value probe (discount 0.95). The same network untrained has R^2 0.31. The tasks and the last layer
were chosen on Breakout and Pong (results/atari_development/README.md).

A run may resume with another `num_steps` (to train longer), `data_residency`, `num_devices`,
`steps_together`, `checkpoint_every`, `checkpoint_minutes`, `keep_checkpoints` or
`export_successor`, and with its dataset elsewhere.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(type_safe=False)  # pvn checks types

    # Data.
    # From pvn.collect or pvn.convert: a directory, gs://bucket/path, or several: a,b.
    config.dataset = "data/breakout"
    config.dataset_weights = ()  # of the draws, for each dataset; (): uniform over transitions
    config.data_memory_gib = 0.0  # memory of a buffer that moves through the data; 0: all data
    config.data_reuse = 1.0  # mean number of times that a transition is drawn each time it is read
    # Where the frames are: host, device (gathered in the step), auto (on the device if it is an
    # accelerator whose memory holds them twice).
    config.data_residency = "auto"

    # The network that learns.
    # nature, nature_xavier, impala, minatar, path/to/file.py:Name or package.module:Name
    config.encoder = "nature"
    config.width = 1  # multiplies the encoder's channels
    config.num_features = 512  # F
    config.dtype = "float32"  # float32, bfloat16: of the computation; parameters: float32
    # The last layer: dense, then norm, then activation. Not of your own encoder.
    config.feature_norm = "layer_norm"  # none, layer_norm
    config.feature_activation = "relu"  # relu, gelu, tanh, none

    # The auxiliary tasks.
    config.num_tasks = 500  # T
    # local_network, random_network, random_hash, random_cumulant, path/to/file.py:Name or
    # package.module:Name.
    # The settings of each family are in the section of its name.
    config.indicator = "local_network"
    # Tasks drawn for each that is kept, the ones that the agent controls most; 1: all are kept.
    config.candidates_per_task = 1
    config.responses = "cached"  # cached (computed once for each state), in_step (at each draw)
    config.cumulants = "standardised"  # raw, standardised (mean 0, variance 1 over the dataset)

    config.random_network = ml_collections.ConfigDict()
    config.random_network.proportion = 0.05  # p, share of the states for which a task is on
    config.random_network.threshold_from = "dataset"  # dataset (quantile), quantile_regression
    config.random_network.tasks_per_network = 50  # outputs of one random network
    config.random_network.final_relu = False  # published: True; then half of the tasks are dead

    config.local_network = ml_collections.ConfigDict()
    config.local_network.proportion = 0.2  # p, share of the states for which a task is on
    config.local_network.change = False  # tasks are changes of units from frame to frame
    config.local_network.layer = 0  # convolution whose units are read: 1, 2, 3; 0: the last
    config.local_network.pool = 1  # side of the neighbourhood of units that a task sums
    config.local_network.tasks_per_network = 1_000  # units that are read off one network

    config.random_hash = ml_collections.ConfigDict()
    config.random_hash.proportion = 0.05  # p, share of the states for which a task is on

    config.random_cumulant = ml_collections.ConfigDict()
    config.random_cumulant.tasks_per_network = 50  # outputs of one random network
    config.random_cumulant.final_relu = False  # whether a network ends in a ReLU

    # Learning the successor measure.
    # td, monte_carlo (regression on the returns of the behaviour policy), or a baseline without
    # tasks: inverse_dynamics (which action led from a state to the next).
    config.loss = "td"
    config.discount = (0.95,)  # gamma; of several, task t has the one at t modulo their number
    config.heads_bias = "zero"  # at first; or fixed_point: mean / (1 - gamma), with raw cumulants
    config.next_states = "real"  # real, shuffled (a control: those of other transitions)
    # uniform, behaviour (the next action in the dataset), greedy (each task's own best action)
    config.target_policy = "uniform"
    config.target_update = "average"  # average, periodic
    config.target_decay = 0.99  # average: share of the target network kept in each step
    config.target_period = 2000  # periodic: steps between copies to the target network

    # Optimisation.
    config.num_steps = 4_500  # gradient steps, warm-up included
    config.batch_size = 32  # B, over all devices
    config.optimizer = "adam"  # adam, rmsprop, sgd
    config.learning_rate = 3e-4  # at batch size 32
    config.learning_rate_warmup = 0  # first steps, over which the learning rate rises; 0: none
    config.learning_rate_batch_exponent = 0.25  # learning_rate * (batch_size / 32) ** this
    # Where epsilon exceeds the gradient of one head (about 1e-3 / T), updates shrink as T grows.
    config.adam_epsilon = 1e-8
    config.max_gradient_norm = 0.0  # gradients with a larger global norm are scaled down; 0: never

    # Only for random_network.threshold_from=quantile_regression.
    config.warmup_steps = 0  # first steps, which only learn the thresholds; about 4,000 are needed
    config.threshold_learning_rate = 5e-5  # of the thresholds' Adam, at batch size 32

    # The run.
    config.seed = 0  # of weights, tasks and batches
    config.num_devices = 0  # 0: all devices
    # Steps of one dispatch to the devices; 0: 1 on a CPU, else up to 16. Fewer are taken if it does
    # not divide the other numbers of steps.
    config.steps_together = 0
    config.log_every = 250  # steps between rows of metrics.jsonl
    config.checkpoint_every = 2500  # steps between checkpoints
    config.checkpoint_minutes = 15.0  # most minutes between checkpoints
    config.keep_checkpoints = 2  # number of newest checkpoints to keep
    config.export_successor = True  # heads and tasks beside the features: successor.safetensors
    return config
