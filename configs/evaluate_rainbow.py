"""Rainbow from pixels, with the settings of Dopamine's agent (Castro et al. 2018).

    python -m pvn.evaluate --config=configs/evaluate_rainbow.py --features=random \
        --game=Breakout --workdir=runs/breakout/rainbow

Dopamine's Rainbow has three of the six parts of the paper's: C51, 3-step returns and prioritised
replay. Kernels are Xavier-uniform at first; Dopamine's Rainbow draws them in other limits. All else
is as in configs/evaluate_end_to_end.py.
"""

import ml_collections

from configs import evaluate_end_to_end


def get_config() -> ml_collections.ConfigDict:
    config = evaluate_end_to_end.get_config()
    config.head = "c51"
    config.n_step = 3
    config.dqn.priority_exponent = 0.5
    config.dqn.adam_epsilon = 1.5e-4
    return config
