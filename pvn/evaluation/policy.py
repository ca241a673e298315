"""A saved policy: a head beside the features it was fitted on."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file
from safetensors.numpy import save as save_tensors

from pvn.errors import UserError
from pvn.evaluation.acting import Actor
from pvn.evaluation.head import Head, Layer, is_finite
from pvn.evaluation.learner import Policy
from pvn.evaluation.values import VALUES
from pvn.features import load_features, save_features
from pvn.storage import remote
from pvn.storage.files import read_text, sha256, write_json, write_whole
from pvn.storage.paths import make_folder

FORMAT = "pvn-policy"
VERSION = 2
_REQUIRED = ("game", "num_actions", "head_sha256", "features_sha256")


class GreedyPolicy:
    """A callable: observations uint8 [E, H, W, C] -> the actions int [E] of highest value."""

    def __init__(self, policy: Policy, metadata: dict[str, Any], place: str):
        """place: where it was loaded from, as the user wrote it."""
        self.policy, self.metadata, self.place = policy, metadata, place
        self._act = Actor(policy.features, policy.values, policy.num_actions)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return self._act(self.policy.head, observation).greedy

    def check_game(self, game: str, num_actions: int) -> None:
        """Raises `UserError` unless the policy was fitted on this game."""
        if (self.metadata["game"], self.metadata["num_actions"]) != (game, num_actions):
            raise UserError(
                f"policy {self.place}: was fitted on {self.metadata['game']} with "
                f"{self.metadata['num_actions']} actions, not on {game} with {num_actions}"
            )


def save_policy(path: Path, policy: Policy, metadata: dict[str, Any]) -> None:
    """Writes `features/`, `head.safetensors` and, last, `policy.json`, which makes it valid."""
    make_folder(path, "policy")
    (path / "policy.json").unlink(missing_ok=True)  # of an earlier head: not valid from here on
    save_features(path / "features", policy.features)
    tensors = {
        f"{number}.{name}": np.asarray(value, order="C")  # safetensors ignores strides
        for number, layer in enumerate(policy.head)
        for name, value in layer._asdict().items()
    }
    write_whole(path / "head.safetensors", save_tensors(tensors))
    settings: Any = policy.values
    kind = next(name for name, cls in VALUES.items() if isinstance(settings, cls))
    fields = {
        "num_actions": policy.num_actions,
        "values": {"kind": kind, **settings._asdict()},
        "head_sha256": sha256(path / "head.safetensors"),
        "features_sha256": sha256(path / "features" / "model.safetensors"),
    }
    write_json(path / "policy.json", {"format": FORMAT, "version": VERSION, **metadata, **fields})


def load_policy(path: str | Path) -> GreedyPolicy:
    """The policy of a `pvn.evaluate` run directory, or of its `policy/` directory.

    path: local, or `gs://bucket/path`.

    Raises:
      UserError: there is no policy, its format is another, its features do not load, its head
        diverged, or the server of `gs://` refuses.
    """
    with remote.reading(path, "policy.json", "head.safetensors", "features", "policy") as local:
        return _load_local(local, str(path))


def _load_local(path: Path, place: str) -> GreedyPolicy:
    for folder in (path, path / "policy"):
        if (folder / "policy.json").is_file():
            break
    else:
        raise UserError(
            f"policy {path}: no policy.json there or in its policy/; expected `random` or the "
            "workdir of a finished python -m pvn.evaluate run with features"
        )
    metadata = _read_description(folder / "policy.json")
    file = folder / "head.safetensors"
    features = load_features(folder / "features")
    digests = {"head_sha256": sha256(file), "features_sha256": features.metadata["sha256"]}
    if wrong := [name for name, digest in digests.items() if metadata[name] != digest]:
        raise UserError(f"policy {folder}: is corrupt: its {wrong[0]} is not that in policy.json")
    head = _layers(load_file(file))
    if not is_finite(head):
        raise UserError(
            f"policy {folder}: its head diverged, weights are not finite (NaN or infinity); "
            "evaluate again with a lower config.dqn.learning_rate"
        )
    settings = dict(metadata["values"])
    kind = VALUES[settings.pop("kind")](**settings)
    return GreedyPolicy(Policy(features, head, kind, metadata["num_actions"]), metadata, place)


def _read_description(file: Path) -> dict[str, Any]:
    try:
        metadata: dict[str, Any] = dict(json.loads(read_text(file)))
        known = metadata["format"] == FORMAT and metadata["version"] == VERSION
        _ = [metadata[name] for name in _REQUIRED], metadata["values"]["kind"]
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UserError(f"policy {file}: is not a {FORMAT} of version {VERSION}")
    return metadata


def _layers(tensors: dict[str, np.ndarray]) -> Head:
    return tuple(
        Layer(*(jnp.asarray(tensors[f"{number}.{name}"]) for name in Layer._fields))
        for number in range(len(tensors) // 2)
    )
