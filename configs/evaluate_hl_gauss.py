"""A histogram head on frozen features, with the loss of HL-Gauss (Farebrother et al. 2024).

    python -m pvn.evaluate --config=configs/evaluate_hl_gauss.py --features=runs/breakout \
        --workdir=runs/breakout/hl_gauss

The loss and its support are those of the paper's DQN; all else is as in
configs/evaluate_published.py, so that only the loss differs.
"""

import ml_collections

from configs import evaluate_published


def get_config() -> ml_collections.ConfigDict:
    config = evaluate_published.get_config()
    config.head = "hl_gauss"
    return config
