"""Learned against untrained features on two games of MinAtar, three seeds: minutes on a laptop.

    python -m pvn.suite --config=configs/suite_quickstart.py --workdir=runs/quickstart --jobs=2

Each game and seed has 50,000 transitions of random play, a pretraining on them without rewards, and
100,000 interactions with rewards for a linear head on the learned features and for one on those of
the same network without training. docs/suite.md explains the fields.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.games = ("MinAtar/Breakout", "MinAtar/SpaceInvaders")
    config.seeds = (0, 1, 2)  # of the data, the pretraining and the evaluation
    config.datasets = {"random": {"flags": {"num_steps": 50_000}}}
    config.pretrainings = {
        "pvn": {
            "dataset": "random",
            "config": "configs/pretrain_minatar.py",
            # On random play, more steps and a choice of tasks are worse.
            "overrides": {"num_steps": 5_000, "candidates_per_task": 1},
        }
    }
    head = {"num_steps": 100_000, "eval_episodes": 50, "videos": False}
    config.agents = {
        "pvn": {"features": "pvn", "overrides": head},
        "untrained": {"features": "random", "like": "pvn", "overrides": head},
        "random_policy": {"features": "none", "overrides": {"eval_episodes": 50}},
    }
    config.probes = {
        "value": {
            "agents": "pvn,untrained",
            "dataset": "random",
            "flags": {"targets": "value", "discount": 0.95, "diagnostics": False},
        }
    }
    return config
