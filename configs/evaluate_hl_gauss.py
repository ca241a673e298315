"""A histogram head on frozen features, with the settings of HL-Gauss (Farebrother et al. 2024).

    python -m pvn.evaluate --config=configs/evaluate_hl_gauss.py --features=runs/breakout \
        --workdir=runs/breakout/hl_gauss

The interaction is that of configs/evaluate_published.py.
"""

import ml_collections

from configs import evaluate_published


def get_config() -> ml_collections.ConfigDict:
    config = evaluate_published.get_config()
    config.head = "hl_gauss"
    config.dqn.double = False
    return config
