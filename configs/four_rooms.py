"""Proto-value functions of four rooms, learned by TD and compared with the exact ones.

    python -m pvn.tabular --config=configs/four_rooms.py --workdir=runs/four_rooms

The MDP has 68 states, and the tasks are its 68 state-equality indicators. A run takes about 20
seconds on 2 cores. Expect cosines of at least 0.99 between the span of the learned features and the
first 12 proto-value functions.

Try `--config.mdp=torus --config.size=8`, `--config.mdp=chain --config.size=40`,
`--config.indicator=random_network`, `--config.predict=action_values` or `--config.batch_size=0`.
configs/garnet.py has an MDP that is not symmetric. configs/random_sets.py varies the number of
tasks.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()

    # The MDP.
    # four_rooms, open_grid, torus, chain, garnet, or an .npz file (docs/tabular.md)
    config.mdp = "four_rooms"
    config.size = 4  # side of a room or grid; number of states of a chain or Garnet
    config.num_actions = 4  # of a Garnet
    config.branching = 3  # of a Garnet: next states of a state and action
    config.mdp_seed = 0  # of a Garnet
    config.discount = 0.9  # gamma

    # The network that learns.
    # table (of states); with images of the states: nature, impala, file.py:Name
    config.encoder = "table"
    config.width = 1  # of a convolutional encoder
    config.num_features = 12  # F
    config.predict = "state_values"  # state_values (of the uniform policy), action_values

    # The auxiliary tasks.
    # state_equality, random_sets, random_network, local_network, random_hash, random_cumulant
    config.indicator = "state_equality"
    config.num_tasks = 0  # T; 0: the number of states
    config.random_sets = ml_collections.ConfigDict()
    config.random_sets.proportion = 0.1  # p, share of the states in a set
    config.random_network = ml_collections.ConfigDict()
    config.random_network.proportion = 0.1  # p, share of the states for which a task is on
    config.random_network.tasks_per_network = 10  # outputs of one random network
    config.local_network = ml_collections.ConfigDict()
    config.local_network.proportion = 0.1  # p, share of the states for which a task is on
    config.local_network.tasks_per_network = 10  # units that are read off one network
    config.random_hash = ml_collections.ConfigDict()
    config.random_hash.proportion = 0.1  # p, share of the states for which a task is on
    config.random_cumulant = ml_collections.ConfigDict()
    config.random_cumulant.tasks_per_network = 10  # outputs of one random network

    # Learning.
    config.loss = "td"  # td, monte_carlo
    config.target_decay = 0.99  # share of the target network that is kept in each step
    config.num_steps = 12_000  # gradient steps
    # B; 0 (with encoder=table): all states and actions at once, with expected next observations
    config.batch_size = 256
    config.optimizer = "adam"  # adam, rmsprop, sgd
    config.learning_rate = 5e-3
    config.adam_epsilon = 1e-8
    config.seed = 0  # of weights, tasks and batches
    config.log_every = 500  # steps between rows of metrics.jsonl

    # The comparison.
    config.dimension = 0  # d, of the exact subspaces; 0: the largest up to F that is unique
    config.task_counts = ()  # numbers of random sets to learn from in addition, for tasks.png
    return config
