"""Fine-tuning: the head learns as in DQN, and the encoder with it, at a lower rate.

    python -m pvn.evaluate --config=configs/evaluate_finetuned.py --features=runs/breakout \
        --workdir=runs/breakout/finetuned

All settings but the encoder's learning rate are those of configs/evaluate_end_to_end.py, so the two
differ in where the encoder begins and how fast it moves.
"""

import ml_collections

from configs import evaluate_end_to_end


def get_config() -> ml_collections.ConfigDict:
    config = evaluate_end_to_end.get_config()
    config.dqn.encoder_learning_rate = 1e-5
    return config
