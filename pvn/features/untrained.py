"""Features of an untrained encoder: the baseline for learned features."""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pvn.features.description import ENCODER, FILES, encoder_of, read_description
from pvn.features.features import Features
from pvn.features.observation import shape_of
from pvn.fields import check_seed
from pvn.networks.encoders import init_encoder
from pvn.storage import remote
from pvn.types import ATARI, SMALL_SIDE

_KEPT = (*ENCODER, "observation_shape", "protocol", "game")


def random_features(
    encoder: str | None = None,
    *,
    width: int = 1,
    num_features: int | None = None,
    dtype: str = "float32",
    feature_norm: str = "none",
    feature_activation: str = "relu",
    observation_shape: Sequence[int] = ATARI.shape,
    seed: int = 0,
    like: str | Path | None = None,
) -> Features:
    """Features of an untrained encoder.

    Args:
      encoder, width, num_features, dtype, feature_norm, feature_activation: as in the config of
        `pvn.pretrain`. By default, the encoder `nature` with 512 features, or `minatar` with 256
        for observations below 36 pixels; without LayerNorm.
      observation_shape: (H, W, C).
      seed: seed of the weights.
      like: a run or features directory. If it is given, the architecture is taken from it.

    Raises:
      UserError: there is no such encoder, `like` holds no features, or the seed is out of range.
    """
    seed = check_seed(operator.index(seed))
    folder: Path = Path(".")
    metadata: dict[str, Any]
    if like is not None:
        with remote.reading(like, *FILES) as local:
            folder, metadata = read_description(local)
        metadata = {key: metadata[key] for key in _KEPT if key in metadata}
    else:
        small = min(observation_shape[:2]) < SMALL_SIDE
        default = ("minatar", 256) if small else ("nature", 512)
        metadata = dict(
            encoder=encoder or default[0],
            width=width,
            num_features=default[1] if num_features is None else num_features,
            dtype=dtype,
            feature_norm=feature_norm,
            feature_activation=feature_activation,
            observation_shape=list(observation_shape),
        )
    network = encoder_of(metadata, folder)
    metadata |= {"agent": "random_features", "seed": seed, "step": 0}
    return Features(network, init_encoder(network, seed, shape_of(metadata)), metadata, folder)
