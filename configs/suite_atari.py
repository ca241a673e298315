"""Learned against untrained features on six games of Atari that no choice was made on.

The policies that play the data come first; each is a DQN agent with a small network after two
million frames, an hour on one core:

    for game in Asterix Assault BeamRider Boxing MsPacman Qbert; do
        like=results/atari/dqn/like/$game
        python -m pvn.collect --game=$game --num_steps=1000 --dataset=$like/data
        python -m pvn.pretrain --config=configs/pretrain.py --config.dataset=$like/data \
            --config.encoder=results/atari/encoder.py:Mnih2013 --config.num_features=256 \
            --config.feature_norm=none --config.num_tasks=1 --config.num_steps=1 --workdir=$like
        python -m pvn.evaluate --config=configs/evaluate_end_to_end.py --features=random \
            --like=$like --config.num_steps=500_000 --workdir=results/atari/dqn/$game
    done
    python -m pvn.suite --config=configs/suite_atari.py --workdir=results/atari --jobs=2

Data, probes and label curves are those of `configs/suite_atari_development.py`, with these policies
as the good ones. `pvn` is what was chosen there, `untrained` the same network with random weights,
`ceiling` the last layer of the policy. The policies are read from the place above whatever
--workdir is. results/atari/README.md says what is compared; docs/suite.md explains the fields.
"""

import ml_collections

from configs import suite_atari_development as development


def get_config() -> ml_collections.ConfigDict:
    return development.suite(
        ("Asterix", "Assault", "BeamRider", "Boxing", "MsPacman", "Qbert"),
        "results/atari/dqn/{game}/policy",
        {"pvn": development.VARIANTS["greedy_warm"]},  # until the development games have chosen
        {"untrained": "pvn"},
    )
