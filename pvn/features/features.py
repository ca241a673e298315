"""Frozen features: a callable on uint8 observations."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pvn.errors import UserError
from pvn.features.observation import check_observation, shape_of
from pvn.networks.mapping import map_states
from pvn.networks.network import Network, Params

if TYPE_CHECKING:
    from pvn.features.successor import Successor

_BATCH = 128  # observations in each call of the encoder


class Features:
    """A frozen encoder: a callable from uint8 [N, H, W, C], for any N, to float32 [N, F].

    (H, W, C) is `observation_shape`, (84, 84, 4) for Atari.

    `metadata` is the content of features.json. Inside your own `jax.jit`, use
    `apply(device_params, observation)`. `params` are the same weights, where the caller put them.
    """

    def __init__(
        self,
        encoder: Network,
        params: Params,
        metadata: Mapping[str, Any],
        folder: str | Path = ".",
        source: str | Path | None = None,
    ):
        """Features of an encoder and its weights.

        Args:
          encoder: from `make_encoder`.
          params: its weights, float32.
          metadata: the architecture (encoder, width, num_features, dtype, observation_shape), and
            other fields to save.
          folder: the folder that a relative file name in `metadata["encoder"]` starts from.
          source: the directory that they were loaded from; None: not from a directory.
        """
        self.params, self.apply = params, encoder.apply
        self.metadata = dict(metadata)
        self.folder = Path(folder)
        self._jitted = jax.jit(self.apply)
        self._source = source

    @property
    def num_features(self) -> int:
        """F, the number of features."""
        return int(self.metadata["num_features"])

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(H, W, C)."""
        return shape_of(self.metadata)

    @functools.cached_property
    def device_params(self) -> Params:
        """`params` on JAX's default device. The first access copies them there."""
        return jax.device_put(self.params)

    @functools.cached_property
    def successor(self) -> "Successor":
        """The heads and tasks of pretraining. The first access reads them.

        Raises:
          UserError: the features have none (see `load_successor`).
        """
        if self._source is None:
            raise UserError("features: have no heads: they were not loaded from a directory")
        from pvn.features.successor import load_successor  # who only probes needs no indicators

        return load_successor(self._source, self.metadata["sha256"])

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The features float32 [N, F]. All batches have one size, so it is compiled once.

        Raises:
          UserError: `observation` is not uint8 [N, H, W, C].
        """
        check_observation(observation, self.observation_shape)
        states = np.asarray(observation)
        out = np.empty((len(states), self.num_features), np.float32)
        start = 0
        for part in map_states(
            functools.partial(self._jitted, self.device_params),
            states.__getitem__,
            np.arange(len(states)),
            _BATCH,
        ):
            out[start : start + len(part)] = part
            start += len(part)
        return out
