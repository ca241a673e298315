"""The subject of an evaluation: features, a game, and the agent's name in tables."""

from typing import Any, NamedTuple

from pvn.envs.registry import observation_of_game, protocol_of
from pvn.errors import UserError
from pvn.evaluation.records import is_name
from pvn.features import Features, resolve_features
from pvn.features.description import ENCODER
from pvn.plugins import plugin_identity
from pvn.types import ATARI


class Subject(NamedTuple):
    """The features and the game of an evaluation."""

    features: Features | None  # None: uniformly random play
    game: str
    agent: str  # name in tables


def resolve_subject(
    name: str,
    *,
    like: str | None,
    game: str | None,
    agent: str | None,
    seed: int,
    trained: bool = False,
) -> Subject:
    """The subject that the flags --features, --like, --game and --agent describe.

    Args:
      name: the value of --features: a run or features directory, `random` or `none`.
      like, game, agent: the values of the flags; None where a flag is not given.
      seed: seed of random features.
      trained: whether the evaluation trains the encoder. An untrained one of Atari then has the
        kernels of Dopamine's DQN (`nature_xavier`), unless `like` is given.

    Raises:
      UserError: there are no such features, neither the flag nor the features name a game, or a
        flag has no effect.
    """
    if agent and not is_name(agent):
        raise UserError(f"--agent={agent!r}: expected a name of printable characters")
    if name == "none" and like:
        raise UserError(f"--like={like}: goes with --features=random, not with none")
    if name == "none":
        features, metadata = None, {"agent": "random_policy"}
    else:
        shape = observation_of_game(game).shape if game else ATARI.shape
        as_dopamine = "nature_xavier" if trained and shape == ATARI.shape else None
        features = resolve_features(name, like, seed, shape, as_dopamine)
        metadata = features.metadata
    game = game or metadata.get("game")
    if not game:
        raise UserError(f"--game: is missing, expected a game (--features={name} names none)")
    default = metadata.get("agent", "features")
    if trained and features is not None:
        default = "end_to_end" if name == "random" else f"{default}_finetuned"
    return Subject(features, game, agent or default)


def check_features_fit(features: Features, name: str, game: str, num_actions: int) -> None:
    """Raises `UserError` if the features come from another action set or protocol."""
    shape, here = features.observation_shape, protocol_of(game)
    if shape != observation_of_game(game).shape:
        raise UserError(
            f"features {name}: are of observations {list(shape)}; those of {game} are "
            f"{list(observation_of_game(game).shape)}"
        )
    learned = features.metadata.get("num_actions", num_actions)
    if learned != num_actions:
        raise UserError(
            f"features {name}: were learned with {learned} actions on "
            f"{features.metadata['game']}; {game} has {num_actions}"
        )
    protocol: dict[str, Any] = features.metadata.get("protocol", here)
    differ = [key for key in here if protocol.get(key) != here[key]]
    if differ:
        raise UserError(
            f"features {name}: were learned from other observations: "
            + ", ".join(f"{k} {protocol.get(k)}, here {here[k]}" for k in differ)
        )


def features_identity(features: Features | None) -> dict[str, Any]:
    """Identifies the features: SHA-256 of the weights, and of the code of a user's own encoder.

    `features_sha256` is `random` for random features, which the seed and the architecture decide,
    and `none` without features.
    """
    if features is None:
        return {"features_sha256": "none"}
    metadata = features.metadata
    identity: dict[str, Any] = {"features_sha256": metadata.get("sha256") or "random"}
    if identity["features_sha256"] == "random":
        fields = {key: metadata[key] for key in ENCODER if key in metadata}
        # The code of a user's own encoder is identified below; the path of its file may change.
        identity["architecture"] = fields | {"encoder": fields["encoder"].rpartition("/")[2]}
    files = plugin_identity(metadata["encoder"], features.folder)
    return identity | ({"encoder_files": files} if files else {})
