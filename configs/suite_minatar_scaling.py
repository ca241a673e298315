"""More tasks and wider networks: 10 to 10,000 tasks x width 1, 2, 4 on MinAtar.

    python -m pvn.suite --config=configs/suite_minatar_scaling.py --workdir=results/minatar --list
    python -m pvn.suite --config=configs/suite_minatar_scaling.py --workdir=results/minatar --jobs=2

Games, seeds, data and evaluations are those of `configs/suite_minatar.py`, which says how to make
the policies that come first; with its workdir, the data are shared. `width_W-num_tasks=T` is `BASE`
with W times the channels and features, `untrained_width_W` the same network with random weights.
The rest does not scale: neither the number of steps nor the learning rate.
"""

import ml_collections

from configs import suite_minatar

WIDTHS = (1, 2, 4)
NUM_TASKS = (10, 100, 1_000, 10_000)
FEATURES = 256  # of width 1


def get_config() -> ml_collections.ConfigDict:
    config = suite_minatar.get_config()

    def pretraining(width: int, num_steps: int) -> dict:
        size = {
            "width": width,
            "num_features": FEATURES * width,
            "num_steps": num_steps,
            "local_network": {"tasks_per_network": 1_000, "proportion": 0.2},
        }
        return {
            "dataset": suite_minatar.DATA,
            "config": "configs/pretrain_minatar.py",
            "overrides": suite_minatar.BASE | size,
        }

    num_steps = suite_minatar.BASE["num_steps"]
    config.pretrainings = {
        f"width_{width}": pretraining(width, num_steps) | {"vary": {"num_tasks": NUM_TASKS}}
        for width in WIDTHS
    } | {f"size_{width}": pretraining(width, 1) for width in WIDTHS}
    subjects = {f"width_{width}": {"features": f"width_{width}"} for width in WIDTHS} | {
        f"untrained_width_{width}": {"features": "random", "like": f"size_{width}"}
        for width in WIDTHS
    }
    config.agents = suite_minatar.heads_on(subjects)
    return config
