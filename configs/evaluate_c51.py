"""A categorical head on frozen features, with the settings of C51 in Dopamine.

    python -m pvn.evaluate --config=configs/evaluate_c51.py --features=runs/breakout \
        --workdir=runs/breakout/c51

Bellemare et al., "A Distributional Perspective on Reinforcement Learning" (2017). Steps and
exploration are those of configs/evaluate_published.py.
"""

import ml_collections

from configs import evaluate_published


def get_config() -> ml_collections.ConfigDict:
    config = evaluate_published.get_config()
    config.head = "c51"
    config.n_step = 1
    config.dqn.double = False
    config.dqn.learning_rate = 2.5e-4
    config.dqn.adam_epsilon = 0.01 / 32
    return config
