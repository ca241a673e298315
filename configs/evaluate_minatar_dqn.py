"""DQN from the frames of a game of MinAtar: about five minutes on one core.

    python -m pvn.evaluate --config=configs/evaluate_minatar_dqn.py --features=random \
        --game=MinAtar/Breakout --workdir=runs/minatar_dqn

Young and Tian (2019) train for 5 million frames; this run has 200,000, with Adam. Its policy plays
better than a random one, so it makes data of mixed quality.
"""

import ml_collections

from configs import evaluate_end_to_end


def get_config() -> ml_collections.ConfigDict:
    config = evaluate_end_to_end.get_config()
    config.num_steps = 200_000
    config.learn_after = 5_000
    config.epsilon_end = 0.05
    config.epsilon_decay_steps = 100_000
    config.dqn.learning_rate = 2.5e-4
    config.dqn.encoder_learning_rate = 2.5e-4
    config.dqn.adam_epsilon = 1e-5
    config.dqn.target_period = 1_000
    config.dqn.double = True
    config.eval_episodes = 30
    config.videos = False
    return config
