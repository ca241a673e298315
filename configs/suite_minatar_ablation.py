"""Which settings of pretraining matter: one factor at a time around the recipe, on MinAtar.

    python -m pvn.suite --config=configs/suite_minatar_ablation.py \
        --workdir=results/minatar_greedy --jobs=2

Games, seeds, data and evaluations are those of `configs/suite_minatar.py`, which says how to make
the policies that come first; with its workdir, the data are shared. Compare with its `controllable`
(the recipe), `greedy` (tasks as drawn), `controllable_uniform`, `controllable_gamma_0` and
`untrained`. `untrained_4096` is untrained with 4,096 features. The number of tasks varies in
`configs/suite_minatar_scaling.py`. results/minatar_greedy/ablation.md says how.
"""

from typing import Any

import ml_collections

from configs import suite_minatar


def _local(**changes: Any) -> dict[str, Any]:
    return {"local_network": suite_minatar.CONTROLLABLE["local_network"] | changes}


VARIANTS: dict[str, dict[str, Any]] = {
    # The tasks.
    "whole_screen": {
        "indicator": "random_network",
        "random_network": {"proportion": 0.2, "tasks_per_network": 1_600},
    },
    "real_valued": {"indicator": "random_cumulant", "candidates_per_task": 1},  # none are chosen
    "p_0_05": _local(proportion=0.05),
    "pool_3": _local(pool=3, tasks_per_network=1_024),  # all units of a network
    "candidates_4": {"candidates_per_task": 4},
    "raw": {"cumulants": "raw"},
    # The values.
    "gamma_0_98": {"discount": (0.98,)},
    "gammas": {"discount": (0.0, 0.95)},  # gamma 0 is best in SpaceInvaders
    "behaviour": {"target_policy": "behaviour"},
    # The network and its optimisation.
    "no_norm": {"feature_norm": "none"},
    "tanh": {"feature_activation": "tanh"},
    "rate_3e_4": {"learning_rate": 3e-4},
    "steps_5000": {"num_steps": 5_000},
    # Controls.
    "shuffled": {"next_states": "shuffled"},
    "inverse_dynamics": {"loss": "inverse_dynamics"},
    "wide": {"num_features": 4_096, "num_steps": 1},  # for the untrained network of this width
}


def get_config() -> ml_collections.ConfigDict:
    config = suite_minatar.get_config()
    config.pretrainings = {
        name: suite_minatar.pretraining(suite_minatar.CONTROLLABLE | changes)
        for name, changes in VARIANTS.items()
    }
    subjects = {name: {"features": name} for name in VARIANTS if name != "wide"} | {
        "untrained_4096": {"features": "random", "like": "wide"}
    }
    config.agents = suite_minatar.heads_on(subjects)
    return config
