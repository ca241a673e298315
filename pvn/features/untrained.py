"""Features of an untrained encoder: the baseline for learned features."""

import operator
from pathlib import Path
from typing import Any

from pvn import remote
from pvn.features.description import ARCHITECTURE, encoder_of, read_description
from pvn.features.features import Features
from pvn.fields import check_seed
from pvn.networks.encoders import init_encoder

_FILES = ("features.json", "encoder.py", "encoder", "features")
_KEPT = (*ARCHITECTURE, "protocol", "game", "num_actions")


def random_features(
    encoder: str = "nature",
    *,
    width: int = 1,
    num_features: int = 512,
    dtype: str = "float32",
    seed: int = 0,
    like: str | Path | None = None,
) -> Features:
    """Features of an untrained encoder.

    Args:
      encoder, width, num_features, dtype: as in the config of `pvn.pretrain`.
      seed: seed of the weights.
      like: a run or features directory. If it is given, the architecture is taken from it.

    Raises:
      UserError: there is no such encoder, `like` holds no features, or the seed is out of range.
    """
    seed = check_seed(operator.index(seed))
    folder: Path = Path(".")
    metadata: dict[str, Any]
    if like is not None:
        with remote.reading(like, *_FILES) as local:
            folder, metadata = read_description(local)
        metadata = {key: metadata[key] for key in _KEPT if key in metadata}
    else:
        metadata = dict(encoder=encoder, width=width, num_features=num_features, dtype=dtype)
    network = encoder_of(metadata, folder)
    metadata |= {"agent": "random_features", "seed": seed, "step": 0}
    return Features(network, init_encoder(network, seed), metadata, folder)
