"""Writes other people's agents of Breakout and Pong as policies of pvn.

python -m results.atari_development.agents Breakout breakout.npz policies/Breakout

The agents are the files `BreakoutNoFrameskip-v4.pt` (A2C) and `PongNoFrameskip-v4.pt` (ACKTR) of
pull request 219 of ikostrikov/pytorch-a2c-ppo-acktr-gail (MIT); they are not in this repository.
The .npz file holds their arrays, in the layouts of PyTorch: the kernels and biases of the
convolutions (c1, b1, c2, b2, c3, b3), of the dense layer (w, b) and of the actions' logits (a, ab).

The result plays by `pvn.collect --policy=policies/Breakout`, and `--features=policies/Breakout` is
its last layer.
"""

import sys
from pathlib import Path

import numpy as np

from pvn.envs.registry import protocol_of
from pvn.evaluation.head import Layer
from pvn.evaluation.learner import Policy
from pvn.evaluation.policy import save_policy
from pvn.evaluation.values import ActionValue
from pvn.features import Features
from pvn.networks.encoders import make_encoder
from pvn.types import ATARI

ENCODER = f"{Path(__file__).parent}/actor_critic.py:ActorCritic"


def main(game: str, arrays: str, folder: str) -> None:
    weights = dict(np.load(arrays))
    num_features, num_actions = weights["w"].shape[0], weights["a"].shape[0]
    params = {
        f"Conv_{i}": {
            "kernel": weights[f"c{i + 1}"].transpose(2, 3, 1, 0),
            "bias": weights[f"b{i + 1}"],
        }
        for i in range(3)
    }
    params["Dense_0"] = {"kernel": weights["w"].T, "bias": weights["b"]}
    architecture = {"width": 1, "num_features": num_features, "dtype": "float32"}
    encoder = make_encoder(ENCODER, **architecture, observation_shape=ATARI.shape)
    metadata = {
        "encoder": ENCODER,
        **architecture,
        "observation_shape": list(ATARI.shape),
        "agent": "actor_critic",
        "game": game,
        "num_actions": num_actions,
        "protocol": protocol_of(game),
    }
    head = (Layer(weights["a"].T, weights["ab"]),)  # the likeliest action is the greedy one
    policy = Policy(Features(encoder, params, metadata), head, ActionValue(), num_actions)
    save_policy(Path(folder), policy, {"game": game, "agent": "actor_critic"})


if __name__ == "__main__":
    main(*sys.argv[1:])
