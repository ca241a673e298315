"""Learned against untrained features, on five games of MinAtar with ten seeds.

The policies that play the dataset `mixed` come first; each is a DQN agent after a million frames:

    for game in Asterix Breakout Freeway Seaquest SpaceInvaders; do
        python -m pvn.evaluate --config=configs/evaluate_minatar_dqn.py --features=random \
            --config.num_steps=1_000_000 --game=MinAtar/$game \
            --workdir=results/minatar_greedy/dqn/MinAtar/$game
    done
    python -m pvn.suite --config=configs/suite_minatar.py --workdir=results/minatar_greedy --jobs=2

Each variant is pretrained on 50,000 transitions of random play and 50,000 of the policy with
epsilon 0.3. A linear head is then fitted to rewards in two ways: NAME to 1,000, 10,000 and 99,000
labels of the same data (Monte Carlo values, no sweep), NAME_online to 100,000 interactions of its
own. `ceiling` is the last layer of the policy itself. The policies are read from the place above
whatever --workdir is; results/minatar_greedy/README.md makes the tables. docs/suite.md explains the
fields.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

POLICY = "results/minatar_greedy/dqn/{game}"
RECIPE: dict[str, Any] = {
    "indicator": "local_network",
    "local_network": {"tasks_per_network": 100, "proportion": 0.2},
    "num_tasks": 100,
    "candidates_per_task": 1,
    "cumulants": "standardised",
    "discount": (0.95,),
    "target_policy": "greedy",
    "feature_norm": "layer_norm",
    "learning_rate": 1e-3,
    "batch_size": 32,
    "num_steps": 20_000,
}
CONTROLLABLE: dict[str, Any] = {
    "candidates_per_task": 16,
    "local_network": {"tasks_per_network": 1_600, "proportion": 0.2},  # all units of a network
}
VARIANTS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "uniform": {"target_policy": "uniform"},
    "gamma_0": {"discount": (0.0,)},
    "controllable": CONTROLLABLE,
    "controllable_uniform": CONTROLLABLE | {"target_policy": "uniform"},
    "controllable_gamma_0": CONTROLLABLE | {"discount": (0.0,)},
}
DATA = "random,mixed"
LABELS = {
    "num_labels": (1_000, 10_000, 99_000),
    "learn_after": 500,
    "fqi": {"sweeps": 0},
    "eval_episodes": 50,
    "videos": False,
}
ONLINE = {"num_steps": 100_000, "eval_episodes": 50, "videos": False}


def pretraining(changes: dict[str, Any]) -> dict[str, Any]:
    """`RECIPE` with changes, without the settings of a family of tasks that is not used."""
    overrides = RECIPE | changes
    if overrides["indicator"] != "local_network":
        del overrides["local_network"]
    return {"dataset": DATA, "config": "configs/pretrain_minatar.py", "overrides": overrides}


def heads_on(subjects: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Two heads on each subject: NAME learns from labels, NAME_online from its interactions."""
    labels = {
        name: subject | {"dataset": DATA, "overrides": LABELS} for name, subject in subjects.items()
    }
    online = {
        f"{name}_online": subject | {"overrides": ONLINE} for name, subject in subjects.items()
    }
    return labels | online


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.games = tuple(
        f"MinAtar/{name}"
        for name in ("Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders")
    )
    config.seeds = tuple(range(10))
    config.datasets = {
        "random": {"flags": {"num_steps": 50_000}},
        "mixed": {"flags": {"num_steps": 50_000, "policy": POLICY, "epsilon": 0.3}},
    }
    config.pretrainings = {name: pretraining(changes) for name, changes in VARIANTS.items()}
    subjects = {name: {"features": name} for name in VARIANTS} | {
        "untrained": {"features": "random", "like": "greedy"},
        "ceiling": {"features": f"{POLICY}/policy"},
    }
    config.agents = heads_on(subjects)
    return config
