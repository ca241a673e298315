"""Linear evaluation on a laptop: fitted Q iteration on 60,000 interactions, about a minute.

    python -m pvn.evaluate --config=configs/evaluate.py --features=runs/breakout \
        --workdir=runs/breakout/eval
    python -m pvn.evaluate --config=configs/evaluate.py --features=random \
        --config.like=runs/breakout --workdir=runs/breakout/eval_random
    python -m pvn.evaluate --config=configs/evaluate.py --features=none \
        --config.game=Breakout --workdir=runs/breakout/eval_none

With features of random-play Breakout after configs/pretrain.py expect a mean return of 2 to 3
points, learned or untrained, against 1 of random play: a probe tells features apart sooner.
The published evaluation is configs/evaluate_published.py.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()

    config.game = ""  # empty: the game the features were learned on
    config.like = ""  # features=random: run whose architecture to take; empty: nature, F 512
    config.method = ""  # what tables call the features; empty: pvn, random_features, random_policy
    config.seed = 0  # of games, exploration, replay and random features
    config.num_envs = 32  # environments side by side

    # Interaction with the rewards.
    config.head = "fqi"  # fqi (fitted Q iteration, closed form), dqn (published, gradients)
    config.num_steps = 60_000  # agent steps of interaction, over all environments
    config.discount = 0.99  # gamma of one agent step
    config.n_step = 5  # rewards summed before bootstrapping
    config.clip_rewards = True  # learn from rewards clipped to [-1, 1]; scores never are
    config.epsilon_start = 1.0  # exploration, linear from start to end over decay_steps
    config.epsilon_end = 0.05
    config.epsilon_decay_steps = 20_000
    config.replay_capacity = 1_000_000  # interactions kept; F * 4 bytes each
    config.learn_after = 2_000  # agent steps of random play before the first update or fit

    # Fitted Q iteration.
    config.fqi_refit_every = 10_000  # agent steps between fits to all of the replay
    config.fqi_iterations = 30  # regressions a fit; each begins where the last fit ended
    config.fqi_held_out = 0.2  # share of the replay on which the ridge penalty is chosen

    # DQN.
    config.dqn_update_every = 4  # agent steps an update
    config.dqn_batch_size = 32
    config.dqn_learning_rate = 6.25e-5
    config.dqn_adam_epsilon = 1.5e-4
    config.dqn_max_gradient_norm = 10.0
    config.dqn_target_period = 2_000  # agent steps between copies to the target head

    # Evaluation episodes, after learning.
    config.eval_episodes = 100
    config.eval_epsilon = 0.001
    return config
