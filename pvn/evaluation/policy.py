"""A policy on disk: a linear head beside the features it was fitted on."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from pvn.errors import UserError
from pvn.evaluation.dqn import Head
from pvn.evaluation.rollout import make_act
from pvn.features import Features, load_features, save_features
from pvn.files import read_text, sha256, write_json

FORMAT = "pvn-policy"
VERSION = 1


class Policy:
    """Greedy actions [E] of observations uint8 [E, 84, 84, 4]."""

    def __init__(self, features: Features, head: Head, metadata: dict[str, Any]):
        self.features, self.head, self.metadata = features, head, metadata
        self._act = make_act(features)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return np.asarray(self._act(self.head, observation)[1])

    def check_game(self, game: str, num_actions: int) -> None:
        """Raises `UserError` unless the policy was fitted on this game."""
        if (self.metadata["game"], self.metadata["num_actions"]) != (game, num_actions):
            raise UserError(
                f"policy: was fitted on {self.metadata['game']} with "
                f"{self.metadata['num_actions']} actions, not on {game} with {num_actions}"
            )


def save_policy(path: Path, features: Features, head: Head, metadata: dict[str, Any]) -> None:
    """Writes `head.safetensors`, `features/`, and last `policy.json`."""
    path.mkdir(parents=True, exist_ok=True)
    save_features(path / "features", features)
    save_file({name: np.asarray(value) for name, value in head.items()}, path / "head.safetensors")
    digests = {
        "head_sha256": sha256(path / "head.safetensors"),
        "features_sha256": sha256(path / "features" / "model.safetensors"),
    }
    write_json(path / "policy.json", {"format": FORMAT, "version": VERSION, **metadata, **digests})


def load_policy(path: str | Path) -> Policy:
    """The policy of a `pvn.evaluate` run directory, or of the `policy/` in it.

    Raises:
      UserError: no policy there, or a newer format.
    """
    for folder in (Path(path), Path(path) / "policy"):
        if (folder / "policy.json").is_file():
            break
    else:
        raise UserError(
            f"policy {path}: no policy.json there or in its policy/; expected `random` or the "
            "workdir of a finished python -m pvn.evaluate run with features"
        )
    metadata = json.loads(read_text(folder / "policy.json"))
    if metadata.get("format") != FORMAT or metadata["version"] > VERSION:
        raise UserError(
            f"policy {folder}: is not a {FORMAT} of version {VERSION} or older; upgrade pvn"
        )
    head = {name: jnp.asarray(v) for name, v in load_file(folder / "head.safetensors").items()}
    return Policy(load_features(folder / "features"), head, metadata)
