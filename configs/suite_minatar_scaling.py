"""More tasks and wider networks: 10 to 10,000 tasks x width 1, 2, 4 on MinAtar.

    python -m pvn.suite --config=configs/suite_minatar_scaling.py \
        --workdir=results/minatar_greedy --jobs=2

Games, seeds, data and evaluations are those of `configs/suite_minatar.py`, which says how to make
the policies that come first; with its workdir, the data are shared. `width_W-num_tasks=T` has W
times 16 channels and W times 64 features, and otherwise the settings of `controllable` there, which
has 16 channels and 256 features, but for a quarter of its steps and half of its candidates for each
task. `untrained_width_W` is the same network with random weights. The number of steps and the
learning rate do not scale. results/minatar_greedy/scaling.md says what is compared.
"""

from typing import Any

import ml_collections

from configs import suite_minatar

WIDTHS = (1, 2, 4)
NUM_TASKS = (10, 100, 1_000, 10_000)
FEATURES = 64  # of width 1
NUM_STEPS = 5_000


def _pretraining(width: int, num_steps: int) -> dict[str, Any]:
    return suite_minatar.pretraining(
        {
            "width": width,
            "num_features": FEATURES * width,
            "num_steps": num_steps,
            "candidates_per_task": 8,  # with 16 there would be more than are compared
            "local_network": {"tasks_per_network": 1_600, "proportion": 0.2},
        }
    )


def get_config() -> ml_collections.ConfigDict:
    config = suite_minatar.get_config()
    config.pretrainings = {
        f"width_{width}": _pretraining(width, NUM_STEPS) | {"vary": {"num_tasks": NUM_TASKS}}
        for width in WIDTHS
    } | {f"size_{width}": _pretraining(width, 1) for width in WIDTHS}
    subjects = {f"width_{width}": {"features": f"width_{width}"} for width in WIDTHS} | {
        f"untrained_width_{width}": {"features": "random", "like": f"size_{width}"}
        for width in WIDTHS
    }
    config.agents = suite_minatar.heads_on(subjects)
    return config
