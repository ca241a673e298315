"""A random MDP, not symmetric: TD and Monte Carlo learn different subspaces.

    python -m pvn.tabular --config=configs/garnet.py --workdir=runs/garnet_td
    python -m pvn.tabular --config=configs/garnet.py --config.loss=monte_carlo \
        --workdir=runs/garnet_monte_carlo

TD converges to the top invariant subspace of P, regression on Monte Carlo returns to the top left
singular vectors of the successor measure (Le Lan et al. 2023); subspace.json has both cosines:
expect 1.000 with the one and near 0.1 with the other, with any seed. Plain gradient descent, for
Adam's steps stay as large as they are near the fixed point and leave it again. Another Garnet
(`--config.mdp_seed`) takes longer where the eigenvalues have a smaller gap after the sixth.
"""

import ml_collections

from configs import four_rooms


def get_config() -> ml_collections.ConfigDict:
    config = four_rooms.get_config()
    config.mdp = "garnet"
    config.size = 20
    config.num_actions = 2
    config.branching = 2
    config.mdp_seed = 2
    config.num_features = 6
    config.target_decay = 0.0
    config.batch_size = 0
    config.optimizer = "sgd"
    config.learning_rate = 10.0
    config.num_steps = 30_000
    config.log_every = 1_000
    return config
