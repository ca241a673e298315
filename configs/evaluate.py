"""Linear evaluation on a laptop: fitted Q iteration on 60,000 interactions.

    python -m pvn.evaluate --config=configs/evaluate.py --features=runs/breakout \
        --workdir=runs/breakout/eval
    python -m pvn.evaluate --config=configs/evaluate.py --features=random --like=runs/breakout \
        --workdir=runs/breakout/eval_random
    python -m pvn.evaluate --config=configs/evaluate.py --features=none --game=Breakout \
        --workdir=runs/breakout/eval_none

The quickstart of Breakout (40,000 interactions, `--config.eval_epsilon=0.05`) gave a mean episode
return of 6 with the features of configs/pretrain.py (random play, seed 0), of 3 with untrained
features, and of 1 with a random policy. configs/evaluate_published.py has the published evaluation.

An evaluation may resume with another `checkpoint_every`, and with its features and datasets
elsewhere.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()

    config.seed = 0  # of environments, exploration, replay and random features
    config.num_envs = 32  # environments that run at the same time

    # Interaction with rewards.
    config.head = "fqi"  # fqi or successor (closed form); dqn, c51, hl_gauss (gradients)
    config.num_steps = 60_000  # agent steps, over all environments
    config.num_labels = (10_000, 30_000, 100_000)  # with --dataset: learn from so many rows instead
    config.discount = 0.99  # gamma of one agent step
    config.n_step = 5  # rewards summed before bootstrapping
    config.clip_rewards = True  # learn from rewards clipped to [-1, 1]; episode returns are not
    config.epsilon_start = 1.0  # probability of a random action when learning begins
    config.epsilon_end = 0.05  # probability of a random action after the decay
    config.epsilon_decay_steps = 20_000  # agent steps over which it falls, from learn_after on
    config.replay_capacity = 1_000_000  # interactions; F * 4 bytes each, or 7,056 of pixels
    config.learn_after = 2_000  # agent steps of random play before the first update or fit

    # Fitted Q iteration (config.head=fqi).
    config.fqi = ml_collections.ConfigDict()
    config.fqi.refit_every = 10_000  # agent steps between fits to the whole replay
    config.fqi.start = "monte_carlo"  # before the sweeps: a fit of returns; previous: the last fit
    config.fqi.sweeps = 1  # bootstrapped regressions; 0: Monte Carlo only, which cannot diverge
    config.fqi.prior = "zero"  # what the penalty draws weights to; previous: the last weights
    config.fqi.max_residual = 0.0  # clips a sweep's residuals, against outliers; 0: no limit
    config.fqi.double = False  # one half chooses actions, the other has their values: less bias
    config.fqi.average = 1  # play with the mean of as many last fits: less variance
    config.fqi.held_out = 0.2  # share of the replay for choosing the ridge penalty

    # Q-learning by gradients (config.head=dqn, c51 or hl_gauss).
    config.dqn = ml_collections.ConfigDict()
    config.dqn.update_every = 4  # agent steps between updates
    config.dqn.batch_size = 32  # interactions in one update
    config.dqn.learning_rate = 6.25e-5  # of Adam, for the head
    config.dqn.encoder_learning_rate = 0.0  # for the encoder; 0 keeps the features frozen
    config.dqn.adam_epsilon = 1.5e-4  # added to Adam's denominator
    config.dqn.max_gradient_norm = 10.0  # larger norms of gradients are scaled down; 0: never
    config.dqn.target_period = 2_000  # agent steps between copies to the target network
    config.dqn.double = True  # double Q-learning: the trained network chooses the next action
    config.dqn.hidden_units = ()  # of hidden layers between features and outputs: (512,), ...
    config.dqn.random_output = False  # the last layer is random at first, not 0
    config.dqn.priority_exponent = 0.0  # prioritised replay: loss^exponent; 0 is uniform replay
    config.dqn.importance_exponent = 0.5  # corrects the bias of prioritised replay; 1 entirely

    # Outputs of a head of action values (config.head=dqn).
    config.value = ml_collections.ConfigDict()
    config.value.huber_delta = 0.0  # TD errors beyond it have a linear loss; 0: none, 1/2 error^2

    # Outputs of a categorical head (config.head=c51): values from -max_value to max_value.
    config.c51 = ml_collections.ConfigDict()
    config.c51.num_atoms = 51
    config.c51.max_value = 10.0

    # Outputs of a histogram head (config.head=hl_gauss).
    config.hl_gauss = ml_collections.ConfigDict()
    config.hl_gauss.num_bins = 51
    config.hl_gauss.max_value = 10.0
    config.hl_gauss.width = 0.75  # standard deviation of the target's Gaussian, in bins

    # The heads of pretraining, with a regression of the reward (config.head=successor, n_step=1).
    config.successor = ml_collections.ConfigDict()
    config.successor.refit_every = 10_000  # agent steps between regressions on the whole replay
    config.successor.reward_of = "state"  # whose cumulants explain a reward: state or next_state
    config.successor.held_out = 0.2  # share of the replay for choosing the ridge penalty

    # Evaluation episodes, after learning.
    config.eval_episodes = 100  # over all environments
    config.eval_epsilon = 0.001  # probability of a random action
    config.videos = True  # draw the best and the median episode to videos/

    # Checkpoints, from which the same command resumes. Results do not depend on this field.
    config.checkpoint_every = 10_000  # agent steps between checkpoints; may change
    return config
