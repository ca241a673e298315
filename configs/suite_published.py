"""The scale of the paper: 60 games, 5 runs of a DQN agent's replay each, 50 million transitions.

    python -m pvn.suite --config=configs/suite_published.py --workdir=results/published --list

Seed s uses run s + 1 of the DQN replay data (docs/data.md), expected in data/dqn_replay. This
config is for a cluster: 300 pretrainings of 1.5 million steps at 6.4 TFLOP each, that is 28 hours
each at 100 TFLOP/s (computed, not measured; docs/clusters.md says how to size them).
`--config.games=Pong,Breakout` takes fewer games.
"""

import ml_collections

GAMES = (
    *("AirRaid", "Alien", "Amidar", "Assault", "Asterix", "Asteroids", "Atlantis", "BankHeist"),
    *("BattleZone", "BeamRider", "Berzerk", "Bowling", "Boxing", "Breakout", "Carnival"),
    *("Centipede", "ChopperCommand", "CrazyClimber", "DemonAttack", "DoubleDunk"),
    *("ElevatorAction", "Enduro", "FishingDerby", "Freeway", "Frostbite", "Gopher", "Gravitar"),
    *("Hero", "IceHockey", "Jamesbond", "JourneyEscape", "Kangaroo", "Krull", "KungFuMaster"),
    *("MontezumaRevenge", "MsPacman", "NameThisGame", "Phoenix", "Pitfall", "Pong", "Pooyan"),
    *("PrivateEye", "Qbert", "Riverraid", "RoadRunner", "Robotank", "Seaquest", "Skiing"),
    *("Solaris", "SpaceInvaders", "StarGunner", "Tennis", "TimePilot", "Tutankham", "UpNDown"),
    *("Venture", "VideoPinball", "WizardOfWor", "YarsRevenge", "Zaxxon"),
)
SAME_INTERACTIONS = {"num_steps": 1_000_000}  # as configs/evaluate_published.py


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.games = GAMES
    config.seeds = (0, 1, 2, 3, 4)

    config.datasets = {
        "replay": {
            "command": "pvn.convert",
            "flags": {"source": "dopamine", "path": "data/dqn_replay", "runs": "{run}"},
        }
    }
    config.pretrainings = {
        "pvn": {
            "dataset": "replay",
            "config": "configs/pretrain_published.py",
            "overrides": {"data_memory_gib": 64.0},  # the frames of 50 million transitions: 330 GiB
        }
    }
    config.agents = {
        "pvn": {"features": "pvn", "config": "configs/evaluate_published.py"},
        "random_features": {
            "features": "random",
            "like": "pvn",
            "config": "configs/evaluate_published.py",
        },
        "pvn_finetuned": {
            "features": "pvn",
            "config": "configs/evaluate_finetuned.py",
            "overrides": SAME_INTERACTIONS,
        },
        "end_to_end": {
            "features": "random",
            "config": "configs/evaluate_end_to_end.py",
            "overrides": SAME_INTERACTIONS,
        },
        # The ceiling: what the features of the agent above give to the same linear head.
        "end_to_end_features": {
            "features": "agent:end_to_end",
            "config": "configs/evaluate_published.py",
        },
        "random_policy": {"features": "none", "config": "configs/evaluate_published.py"},
    }
    config.probes = {
        "value": {
            "agents": ("pvn", "random_features"),
            "dataset": "replay",
            "flags": {"targets": "value", "discount": 0.99},
        }
    }
    return config
