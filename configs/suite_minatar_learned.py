"""Learned against untrained features, on five games of MinAtar with ten seeds.

    python -m pvn.suite --config=configs/suite_minatar_learned.py --workdir=results/minatar --jobs=2

A part of `configs/suite_minatar.py`, which names the policies that come first. The cells are the
same: in one workdir, neither suite repeats what the other has run.
"""

import ml_collections

from configs import suite_minatar

FEATURES = ("base", "first_default", "gamma_0", "untrained")


def get_config() -> ml_collections.ConfigDict:
    config = suite_minatar.get_config()
    config.pretrainings = {
        name: section for name, section in config.pretrainings.items() if name in FEATURES
    }
    config.agents = {
        name: section
        for name, section in config.agents.items()
        if name.removesuffix("_online") in FEATURES
    }
    return config
