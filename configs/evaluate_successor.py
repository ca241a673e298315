"""The successor head: the reward is regressed on the cumulants of pretraining, in a few seconds.

    python -m pvn.evaluate --config=configs/evaluate_successor.py --features=runs/breakout \
        --dataset=data/breakout --config.num_labels="(10_000,)" --workdir=runs/breakout/successor

With --dataset= it needs no interaction. `reward_r2` in metrics.jsonl says how much of the reward
the cumulants express; near 0, the head cannot be better than random play.
"""

import ml_collections

from configs import evaluate


def get_config() -> ml_collections.ConfigDict:
    config = evaluate.get_config()
    config.head = "successor"
    config.n_step = 1
    return config
