"""Learned features: a callable on uint8 observations, and the directory that stores it.

    features = pvn.load_features("runs/pong")
    features(observations)  # uint8 [N, 84, 84, 4] -> float32 [N, F]

A features directory holds `model.safetensors` (the encoder's weights), `features.json` (the
architecture, the protocol of the observations, the origin of the features), `sample.safetensors`
(two observations and their features) and a model card. For a user's own encoder it also holds
`encoder.py`, or a folder `encoder/` if that file imports files beside it. The optional
`successor.safetensors` holds the heads and tasks of pretraining (`pvn.features.successor`).

A features directory can be loaded without an emulator or the training code, and its weights
without pvn: `safetensors.numpy.load_file("model.safetensors")` is a dictionary of arrays.
"""

from pvn.features.features import Features
from pvn.features.load import load_features, resolve_features
from pvn.features.save import save_features, weights_sha256
from pvn.features.untrained import random_features

__all__ = [
    "Features",
    "load_features",
    "random_features",
    "resolve_features",
    "save_features",
    "weights_sha256",
]
