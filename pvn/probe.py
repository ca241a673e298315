r"""Probes frozen features: measures how well a linear function of them predicts a target.

    python -m pvn.probe --features=runs/pong --dataset=data/pong --workdir=runs/pong/probe
    python -m pvn.probe --features=random --like=runs/pong --dataset=data/pong \
        --workdir=runs/pong/probe

The target is the behaviour policy's value, or a user's own (docs/extending.md). A probe is a row of
probes.jsonl in the workdir. It replaces an older row with the same features, dataset, target,
settings, agent and seed. To probe any callable, call `pvn.probes.linear.probe`.
"""

from typing import Any

from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.data.store import Dataset, open_dataset
from pvn.errors import UserError
from pvn.evaluation.records import PROBES, ProbeRow, put_probe
from pvn.features import Features, resolve_features, weights_sha256
from pvn.fields import check_field, fields_of
from pvn.plugins import is_plugin, plugin_identity
from pvn.probes.linear import probe
from pvn.probes.target import NamedTarget, load_target, targets_of
from pvn.probes.value import ValueTarget
from pvn.run_directory import lock_workdir

_FEATURES = cfg.define_path(
    "features",
    None,
    "Run or features directory, or `random` (untrained).",
    required=True,
    words=("random",),
    local=False,
)
_LIKE = cfg.define_path(
    "like",
    None,
    "With --features=random: the run whose architecture to take. Default: nature.",
    local=False,
)
_AGENT = flags.DEFINE_string(
    "agent", None, "Name of the features in tables. Default: pvn or random_features."
)
_DATASET = cfg.define_path("dataset", None, "Dataset directory.", required=True, local=False)
_TARGETS = flags.DEFINE_list(
    "targets", ["value"], "Targets to predict: value or path/to/file.py:Name, comma-separated."
)
_DISCOUNT = flags.DEFINE_float("discount", 0.99, "Discount of the values, in [0, 1).")
_CLIP = flags.DEFINE_bool("clip_rewards", True, "Clip rewards to [-1, 1].")
_MAX_ROWS = flags.DEFINE_integer("max_rows", 50_000, "Largest number of rows.", lower_bound=100)
_SEED = cfg.define_seed("Seed of the split, and of random features.")
_WORKDIR = cfg.define_path(
    "workdir", None, "Directory of probes.jsonl.", required=True, local=False
)


def _describe(features: Features, path: str) -> dict[str, Any]:
    """Fields of a row that identify the features: weights, encoder, a user's own code."""
    name = str(features.metadata["encoder"])
    described = {
        "path": path,
        "sha256": weights_sha256(features),
        "encoder": name.rpartition(":")[2],
        "dtype": features.metadata["dtype"],
    }
    if is_plugin(name):
        described["code"] = plugin_identity(name, features.folder)
    return described


def probe_target(
    named: NamedTarget, features: Features, described: dict[str, Any], dataset: Dataset, agent: str
) -> ProbeRow:
    """Probes one target with the settings of the flags. `described` is from `_describe`.

    Raises:
      UserError: see `targets_of` and `probe`.
    """
    targets, known = targets_of(named, dataset.rows)
    total = min(len(targets), _MAX_ROWS.value)
    with console.progress(total, "states", f"features for {named.name}") as bar:
        result = probe(
            features,
            dataset.rows,
            targets,
            known,
            max_rows=_MAX_ROWS.value,
            seed=_SEED.value,
            on_progress=bar.update,
        )
    details = result._asdict()
    value, low, high = (details.pop(name) for name in ("r2", "low", "high"))
    details |= {"num_features": features.num_features, "step": features.metadata.get("step")}
    return ProbeRow(
        game=dataset.attributes["game"],
        agent=agent,
        seed=_SEED.value,
        target=named.name,
        settings=named.settings | {"max_rows": _MAX_ROWS.value},
        features=described,
        dataset={"path": _DATASET.value, "fingerprint": dataset.compute_fingerprint()},
        metric="r2",
        value=value,
        low=low,
        high=high,
        details=details,
    )


def main() -> int:
    given = {"discount": _DISCOUNT.value, "clip_rewards": _CLIP.value}
    for name, field in fields_of(ValueTarget).items():
        check_field(f"--{name}", given[name], field)
    names = _TARGETS.value
    if not names or len(set(names)) < len(names):
        raise UserError(f"--targets={','.join(names)}: expected one target or more, each once")
    targets = [load_target(name, given) for name in names]
    dataset = open_dataset(_DATASET.value)
    features = resolve_features(_FEATURES.value, _LIKE.value, _SEED.value)
    described = _describe(features, _FEATURES.value)
    agent = _AGENT.value or features.metadata.get("agent", "features")
    for target in targets:
        row = probe_target(target, features, described, dataset, agent)
        with lock_workdir(_WORKDIR.value, PROBES) as place:
            put_probe(place.workdir / PROBES, row)
            place.push(PROBES)
        console.say(
            f"{row.agent}: {row.target} probe R^2 {row.value:.3f} [{row.low:.3f}, {row.high:.3f}] "
            f"on {row.details['num_test_episodes']} episodes"
        )
    return 0


if __name__ == "__main__":
    console.run(main, memory="--max_rows")
