"""Which settings of pretraining help on Atari: probes and label curves on development games.

    python -m pvn.suite --config=configs/suite_atari_development.py \
        --workdir=results/atari_development

`policies/Breakout` and `policies/Pong` are policies that play well: directories that pvn loads.
results/atari_development/README.md says whose agents we used; `ceiling` is their last layer. Each
variant is pretrained on 105,000 transitions: a third each of that policy with epsilon 0.05, of the
same with 0.3, and of random play. Probes are on other data of the same three kinds. A linear head
is fitted to the Monte Carlo values of 30,000 and 100,000 labels of the data, and plays.
docs/suite.md explains the fields.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

LOCAL: dict[str, Any] = {
    "indicator": "local_network",
    "local_network": {"tasks_per_network": 500, "proportion": 0.05},
    "num_tasks": 500,
    "cumulants": "standardised",
    "feature_norm": "layer_norm",
    "learning_rate": 3e-4,
}
LOCAL_P_0_2 = LOCAL | {"local_network": {"tasks_per_network": 500, "proportion": 0.2}}
CONTROLLABLE = LOCAL | {
    "local_network": {"tasks_per_network": 7_500, "proportion": 0.2},
    "candidates_per_task": 15,
}
LONG = {"learning_rate": 1e-3, "num_steps": 20_000}
WARM = LONG | {"learning_rate_warmup": 1_000}


def _layer(layer: int, units: int) -> dict[str, Any]:
    """Tasks, or candidates, of so many units of a convolution."""
    settings = {"tasks_per_network": units, "proportion": 0.2, "layer": layer}
    return LOCAL | WARM | {"local_network": settings, "target_policy": "greedy"}


VARIANTS: dict[str, dict[str, Any]] = {
    # The recipe of configs/pretrain.py until 2026-11-29.
    "whole_screen": {
        "indicator": "random_network",
        "num_tasks": 100,
        "cumulants": "raw",
        "feature_norm": "none",
        "learning_rate": 1e-3,
    },
    "local": LOCAL,
    "local_p_0_2": LOCAL_P_0_2,
    "local_behaviour": LOCAL | {"target_policy": "behaviour"},
    # Each task's best action: with the discount and the learning rate that were best on MinAtar
    # after 5,000 steps, and with those of the others here.
    "greedy": LOCAL_P_0_2 | {"target_policy": "greedy", "discount": (0.98,), "learning_rate": 1e-3},
    "greedy_0_95": LOCAL_P_0_2 | {"target_policy": "greedy"},
    # As many steps as in configs/suite_minatar.py.
    "greedy_long": LOCAL_P_0_2 | LONG | {"target_policy": "greedy"},
    "uniform_long": LOCAL_P_0_2 | LONG,
    # The same with a learning rate that rises: without that, features may collapse at once.
    "greedy_warm": LOCAL_P_0_2 | WARM | {"target_policy": "greedy"},
    "uniform_warm": LOCAL_P_0_2 | WARM,
    "behaviour_warm": LOCAL_P_0_2 | WARM | {"target_policy": "behaviour"},
    # Of nearly all units of a network, those that the agent controls most.
    "controllable_warm": CONTROLLABLE | WARM | {"target_policy": "greedy"},
    "controllable_behaviour": CONTROLLABLE | WARM | {"target_policy": "behaviour"},
    # Units that see 8 x 8 or 20 x 20 pixels, where `local_p_0_2` has 36 x 36; with a choice too.
    "small_warm": _layer(1, 500),
    "small_controllable": _layer(1, 14_000) | {"candidates_per_task": 28},
    "middle_controllable": _layer(2, 7_500) | {"candidates_per_task": 15},
}
LABELS = {
    "num_labels": (30_000, 100_000),
    "fqi": {"sweeps": 0},
    "discount": 0.97,
    "eval_episodes": 32,
    "eval_epsilon": 0.05,
    "videos": False,
}


def suite(
    games: tuple[str, ...],
    policy: str,
    variants: Mapping[str, dict[str, Any]],
    untrained: Mapping[str, str],
) -> ml_collections.ConfigDict:
    """Three seeds of the data, probes and label curves above.

    policy: directory of the good policy, with the placeholder {game}. untrained: name of an
    untrained network -> variant whose architecture it has.
    """
    kinds: dict[str, dict[str, Any]] = {
        "good": {"policy": policy, "epsilon": 0.05},
        "medium": {"policy": policy, "epsilon": 0.3},
        "random": {},
    }
    config = ml_collections.ConfigDict()
    config.games = games
    config.seeds = (0, 1, 2)
    config.datasets = {
        name: {"flags": {"num_steps": 35_000} | flags} for name, flags in kinds.items()
    } | {
        f"{name}_probe": {"flags": {"num_steps": 12_000, "seed": "10{seed}"} | flags}
        for name, flags in kinds.items()
    }
    config.pretrainings = {
        name: {
            "dataset": ",".join(kinds),
            "config": "configs/pretrain.py",
            "overrides": {"num_steps": 4_500} | changes,
        }
        for name, changes in variants.items()
    }
    subjects = (
        {name: {"features": "random", "like": variant} for name, variant in untrained.items()}
        | {"ceiling": {"features": policy}}
        | {name: {"features": name} for name in variants}
    )
    config.agents = {
        name: {"dataset": ",".join(kinds), "overrides": LABELS} | subject
        for name, subject in subjects.items()
    }
    config.probes = {
        "mixed": {
            "agents": ",".join(config.agents),
            "dataset": ",".join(f"{name}_probe" for name in kinds),
            "flags": {
                "targets": "value,reward,action,ram",
                "set": f"action.policy={policy}",
                "discount": 0.95,
            },
        }
    }
    return config


def get_config() -> ml_collections.ConfigDict:
    return suite(
        ("Breakout", "Pong"),
        "policies/{game}",
        VARIANTS,
        {"untrained": "whole_screen", "untrained_norm": "local_p_0_2"},  # without, with LayerNorm
    )
