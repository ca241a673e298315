"""A policy on disk: a linear head beside the features it was fitted on."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file
from safetensors.numpy import save as save_tensors

from pvn import remote
from pvn.errors import UserError
from pvn.evaluation.head import LinearHead, is_finite, make_act
from pvn.features import Features, load_features, save_features
from pvn.files import read_text, sha256, write_json, write_whole
from pvn.paths import make_folder

FORMAT = "pvn-policy"
VERSION = 1


class GreedyPolicy:
    """A callable: observations uint8 [E, 84, 84, 4] -> the actions int [E] of highest value."""

    def __init__(self, features: Features, head: LinearHead, metadata: dict[str, Any]):
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


def save_policy(path: Path, features: Features, head: LinearHead, metadata: dict[str, Any]) -> None:
    """Writes `features/`, `head.safetensors` and, last, `policy.json`, which makes it valid."""
    make_folder(path, "policy")
    save_features(path / "features", features)
    tensors = {name: np.asarray(value) for name, value in head._asdict().items()}
    write_whole(path / "head.safetensors", save_tensors(tensors))
    digests = {
        "head_sha256": sha256(path / "head.safetensors"),
        "features_sha256": sha256(path / "features" / "model.safetensors"),
    }
    write_json(path / "policy.json", {"format": FORMAT, "version": VERSION, **metadata, **digests})


def load_policy(path: str | Path) -> GreedyPolicy:
    """The policy of a `pvn.evaluate` run directory, or of its `policy/` directory.

    path: local, or `gs://bucket/path`.

    Raises:
      UserError: there is no policy, its format is newer, its features do not load, its head
        diverged, or the server of `gs://` refuses.
    """
    with remote.reading(path, "policy.json", "head.safetensors", "features", "policy") as local:
        return _load_local(local)


def _load_local(path: Path) -> GreedyPolicy:
    for folder in (path, path / "policy"):
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
    tensors = load_file(folder / "head.safetensors")
    head = LinearHead(jnp.asarray(tensors["kernel"]), jnp.asarray(tensors["bias"]))
    if not is_finite(head):
        raise UserError(
            f"policy {folder}: its head diverged, weights are not finite (NaN or infinity); "
            "evaluate again with a lower config.dqn.learning_rate"
        )
    return GreedyPolicy(load_features(folder / "features"), head, metadata)
