"""Each task's best action against random ones, on five games of MinAtar with ten seeds.

The policies that play the dataset `mixed` come first; each is a DQN agent after a million frames:

    for game in Asterix Breakout Freeway Seaquest SpaceInvaders; do
        python -m pvn.evaluate --config=configs/evaluate_minatar_dqn.py --features=random \
            --config.num_steps=1_000_000 --game=MinAtar/$game \
            --workdir=results/minatar_greedy/dqn/MinAtar/$game
    done
    python -m pvn.suite --config=configs/suite_minatar_greedy.py \
        --workdir=results/minatar_greedy --jobs=2

The rest is as in `configs/suite_minatar.py`: 50,000 transitions of random play and 50,000 of the
policy with epsilon 0.3; a linear head fitted to labels of them (NAME), and to interactions of its
own (NAME_online). `ceiling` is the last layer of the policy itself.
"""

from typing import Any

import ml_collections

from configs import suite_minatar

POLICY = "results/minatar_greedy/dqn/{game}"
RECIPE: dict[str, Any] = suite_minatar.BASE | {
    "target_policy": "greedy",
    "learning_rate": 1e-3,
    "num_steps": 20_000,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "greedy": RECIPE,
    "uniform": RECIPE | {"target_policy": "uniform"},
    "gamma_0": RECIPE | {"discount": (0.0,)},
}


def get_config() -> ml_collections.ConfigDict:
    config = suite_minatar.get_config()
    config.datasets.mixed.flags.policy = POLICY
    config.pretrainings = {
        name: {**config.pretrainings["base"], "overrides": overrides}
        for name, overrides in VARIANTS.items()
    }
    subjects = {name: {"features": name} for name in VARIANTS} | {
        "untrained": {"features": "random", "like": "greedy"},
        "ceiling": {"features": f"{POLICY}/policy"},
    }
    config.agents = suite_minatar.heads_on(subjects)
    return config
