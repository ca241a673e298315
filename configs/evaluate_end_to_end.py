"""DQN from pixels, with the settings of Dopamine's JAX agent with Adam (Castro et al. 2018).

    python -m pvn.evaluate --config=configs/evaluate_end_to_end.py --features=random \
        --game=Breakout --workdir=runs/breakout/dqn

250,000 agent steps are one of Dopamine's windows; pvn.report draws its published curves beside the
returns. Q(s, a) is a linear layer on the 512 features of the Nature encoder. The features that it
has learned can be evaluated too: `--features=runs/breakout/dqn/policy`.
"""

import ml_collections

from configs import evaluate


def get_config() -> ml_collections.ConfigDict:
    config = evaluate.get_config()
    config.head = "dqn"
    config.num_envs = 8
    config.num_steps = 250_000
    config.n_step = 1
    config.epsilon_end = 0.01
    config.epsilon_decay_steps = 250_000
    config.learn_after = 20_000
    config.dqn.encoder_learning_rate = 6.25e-5
    config.dqn.double = False
    config.dqn.adam_epsilon = 0.75e-4  # half of Dopamine's: its loss has no factor 1/2
    config.dqn.max_gradient_norm = 0.0
    config.dqn.target_period = 8_000
    config.dqn.random_output = True
    config.checkpoint_every = 25_000
    return config
