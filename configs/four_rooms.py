"""Proto-value functions of four rooms, learned by TD and held against the exact ones.

    python -m pvn.tabular --config=configs/four_rooms.py --workdir=runs/four_rooms

68 states; the tasks are the 68 state-equality indicators. Some 20 seconds on 2 cores. Expect
cosines of at least 0.99 between the learned features' span and the first 12 proto-value functions.

See what changes with `--config.mdp=torus --config.size=8`, `--config.mdp=chain --config.size=40`,
`--config.indicator=random_network`, `--config.predict=action_values`, `--config.batch_size=0`;
configs/garnet.py has an MDP that is not symmetric, configs/random_sets.py more and more tasks.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()

    # The MDP.
    config.mdp = "four_rooms"  # four_rooms, open_grid, torus, chain, garnet, or an .npz file
    config.size = 4  # side of a room or grid; number of states of a chain or Garnet
    config.num_actions = 4  # of a Garnet
    config.branching = 3  # of a Garnet: next states of a state and action
    config.mdp_seed = 0  # of a Garnet
    config.discount = 0.9  # gamma

    # The network that learns.
    config.encoder = "table"  # table (of states), or of their images: nature, impala, file.py:Name
    config.width = 1  # of a convolutional encoder
    config.num_features = 12  # F
    config.predict = "state_values"  # state_values (of the policy's chain), action_values

    # The auxiliary tasks.
    # state_equality, random_sets, random_network, random_hash, random_cumulant
    config.indicator = "state_equality"
    config.num_tasks = 0  # T; 0: as many as states
    config.random_sets = ml_collections.ConfigDict()
    config.random_sets.proportion = 0.1  # p, share of the states in a set
    config.random_network = ml_collections.ConfigDict()
    config.random_network.proportion = 0.1  # p, share of the states for which a task is on
    config.random_network.tasks_per_network = 10  # tasks read off one random network
    config.random_hash = ml_collections.ConfigDict()
    config.random_hash.proportion = 0.1  # p
    config.random_cumulant = ml_collections.ConfigDict()
    config.random_cumulant.tasks_per_network = 10  # tasks read off one random network

    # Learning.
    config.loss = "td"  # td, monte_carlo
    config.target_decay = 0.99  # share of the old target network kept each step
    config.num_steps = 12_000  # gradient steps
    config.batch_size = 256  # B; 0: all states and actions at once, next states in expectation
    config.optimizer = "adam"  # adam, rmsprop, sgd
    config.learning_rate = 5e-3
    config.adam_epsilon = 1e-8
    config.seed = 0  # of weights, tasks and batches
    config.log_every = 500  # steps between rows of metrics.jsonl

    # What is compared.
    config.dimension = 0  # d, of the exact subspaces; 0: the largest up to F with a gap after it
    config.task_counts = ()  # numbers of random sets to learn from besides, for tasks.png
    return config
