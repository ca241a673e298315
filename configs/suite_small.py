"""Ten games, three seeds: learned and random features and random play, for 2 cores in a night.

    python -m pvn.suite --config=configs/suite_small.py --workdir=results/small --dry_run
    python -m pvn.suite --config=configs/suite_small.py --workdir=results/small

Each game and seed has its own 50,000 transitions of random play, a pretraining of 4,500 steps and
100,000 interactions with rewards for each agent. docs/suite.md explains the fields. Fewer games:
`--config.games=Breakout,Pong`; fewer seeds: `--config.seeds=0`.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.games = (
        *("Assault", "Asterix", "Boxing", "Breakout", "DemonAttack"),
        *("Freeway", "MsPacman", "Pong", "Seaquest", "SpaceInvaders"),
    )
    config.seeds = (0, 1, 2)  # of the data, the pretraining and the evaluation

    # name -> pvn.collect with these flags.
    config.datasets = {"random": {"flags": {"policy": "random", "num_steps": 50_000}}}

    # name -> pvn.pretrain with this config file and these of its fields.
    config.pretrainings = {
        "pvn": {
            "dataset": "random",
            "config": "configs/pretrain.py",
            "overrides": {"num_steps": 4_500},
        }
    }

    # name -> pvn.evaluate with these features: a pretraining, random, none, or agent:NAME.
    # Untrained features are like those of a pretraining: the same network, with other weights.
    config.agents = {
        name: {
            **features,
            "config": "configs/evaluate.py",
            # A greedy policy may wait until the time limit without starting the game.
            "overrides": {"num_steps": 100_000, "eval_epsilon": 0.05},
        }
        for name, features in {
            "pvn": {"features": "pvn"},
            "untrained": {"features": "random", "like": "pvn"},
            "random_policy": {"features": "none"},
        }.items()
    }

    # name -> pvn.probe of the features of these agents.
    config.probes = {
        "value": {
            "agents": ("pvn", "untrained"),
            "dataset": "random",
            "flags": {"targets": "value", "discount": 0.95},
        }
    }
    return config
