"""Which settings of pretraining help a linear head, on five games of MinAtar with ten seeds.

One factor at a time around `BASE`. The policies that play the dataset `mixed` come first:

    for game in Asterix Breakout Freeway Seaquest SpaceInvaders; do
        python -m pvn.evaluate --config=configs/evaluate_minatar_dqn.py --features=random \
            --game=MinAtar/$game --workdir=results/minatar/dqn/MinAtar/$game
    done
    python -m pvn.suite --config=configs/suite_minatar.py --workdir=results/minatar --jobs=2

Each variant is pretrained on 50,000 transitions of random play and 50,000 of the policy with
epsilon 0.3. A linear head is then fitted to rewards in two ways: NAME to 1,000, 10,000 and 99,000
labels of the same data (Monte Carlo values, no sweep), NAME_online to 100,000 interactions of its
own. NAME_successor fits the reward to the tasks of pretraining instead. docs/suite.md explains the
fields.
"""

from typing import Any

import ml_collections

BASE: dict[str, Any] = {
    "indicator": "local_network",
    "local_network": {"tasks_per_network": 100, "proportion": 0.2},
    "num_tasks": 100,
    "cumulants": "standardised",
    "discount": (0.95,),
    "target_policy": "uniform",
    "feature_norm": "layer_norm",
    "learning_rate": 3e-4,
    "batch_size": 32,
    "num_steps": 5_000,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    # The tasks.
    "whole_screen": {"indicator": "random_network", "random_network": {"proportion": 0.2}},
    "real_valued": {"indicator": "random_cumulant", "cumulants": "raw"},
    "p_0_05": {"local_network": {"tasks_per_network": 100, "proportion": 0.05}},
    "p_0_5": {"local_network": {"tasks_per_network": 100, "proportion": 0.5}},
    "pool_3": {"local_network": {"tasks_per_network": 100, "proportion": 0.2, "pool": 3}},
    "tasks_10": {"num_tasks": 10},
    "tasks_1000": {"num_tasks": 1_000},
    "raw": {"cumulants": "raw"},
    "raw_fixed_point": {"cumulants": "raw", "heads_bias": "fixed_point"},
    # The values.
    "gamma_0_9": {"discount": (0.9,)},
    "gamma_0_98": {"discount": (0.98,)},
    "gammas": {"discount": (0.9, 0.95, 0.98)},
    "behaviour": {"target_policy": "behaviour"},
    "monte_carlo": {"loss": "monte_carlo"},
    # The network.
    "no_norm": {"feature_norm": "none"},
    "tanh": {"feature_activation": "tanh"},
    "rate_1e_3": {"learning_rate": 1e-3},
    # The recipe of configs/pretrain.py in November 2026: whole-screen tasks, raw, no norm.
    "first_default": {
        "indicator": "random_network",
        "cumulants": "raw",
        "feature_norm": "none",
        "learning_rate": 1e-3,
    },
    # Controls.
    "gamma_0": {"discount": (0.0,)},
    "shuffled": {"next_states": "shuffled"},
    "inverse_dynamics": {"loss": "inverse_dynamics"},
    "wide": {"num_features": 4_096, "num_steps": 1},  # for the untrained network of this width
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


def _overrides(changes: dict[str, Any]) -> dict[str, Any]:
    """`BASE` with changes, without the settings of a family of tasks that is not used."""
    fields = BASE | changes
    if fields["indicator"] != "local_network":
        del fields["local_network"]
    return fields


def heads_on(subjects: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
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
        "mixed": {
            "flags": {
                "num_steps": 50_000,
                "policy": "results/minatar/dqn/{game}",
                "epsilon": 0.3,
            }
        },
    }
    config.pretrainings = {
        name: {
            "dataset": DATA,
            "config": "configs/pretrain_minatar.py",
            "overrides": _overrides(changes),
        }
        for name, changes in VARIANTS.items()
    }
    # name -> what pvn.evaluate starts from.
    subjects = {name: {"features": name} for name in VARIANTS if name != "wide"} | {
        "untrained": {"features": "random", "like": "base"},
        "untrained_4096": {"features": "random", "like": "wide"},
    }
    successor = {
        f"{name}_successor": {
            "features": name,
            "dataset": DATA,
            "config": "configs/evaluate_successor.py",
            "overrides": {"num_labels": (99_000,), "eval_episodes": 50, "videos": False},
        }
        for name in ("base", "raw", "tasks_1000")
    }
    config.agents = heads_on(subjects) | successor
    return config
