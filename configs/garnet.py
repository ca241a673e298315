"""A random MDP that is not symmetric: TD and Monte Carlo learn different subspaces.

    python -m pvn.tabular --config=configs/garnet.py --workdir=runs/garnet_td
    python -m pvn.tabular --config=configs/garnet.py --config.loss=monte_carlo \
        --workdir=runs/garnet_monte_carlo

TD converges to the top invariant subspace of P. Regression on Monte Carlo returns converges to the
top left singular vectors of the successor measure (Le Lan et al. 2023). subspace.json has the
cosines to both: with any `--config.seed` expect 1.000 for the subspace of the loss, and near 0.1
for the other. The optimiser is plain gradient descent: Adam's steps do not shrink near the fixed
point, so Adam leaves it again. Another Garnet (`--config.mdp_seed`) takes longer if the gap after
its sixth eigenvalue is smaller.
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
