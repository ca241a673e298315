"""Scores frozen features by a linear probe of the behaviour policy's values.

    python -m pvn.probe --features=runs/pong --dataset=data/pong --targets=value \
        --workdir=runs/pong/probe
    python -m pvn.probe --features=random --like=runs/pong --dataset=data/pong \
        --workdir=runs/pong/probe

Adds a row to probes.jsonl in the workdir, or replaces the one of the same probe. As a function on
any callable: `pvn.evaluation.probe.probe_values`.
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from pvn import console
from pvn.data.store import open_dataset
from pvn.errors import UserError
from pvn.evaluation.probe import probe_values
from pvn.features import load_features, random_features
from pvn.files import write_whole

_FEATURES = flags.DEFINE_string(
    "features", None, "Run or features directory, or `random` (untrained).", required=True
)
_LIKE = flags.DEFINE_string(
    "like", None, "With --features=random: the run whose architecture to take. Default: nature."
)
_DATASET = flags.DEFINE_string("dataset", None, "Dataset directory.", required=True)
_TARGETS = flags.DEFINE_enum("targets", "value", ["value"], "What to predict.")
_DISCOUNT = flags.DEFINE_float("discount", 0.99, "Of the values, in [0, 1).")
_CLIP = flags.DEFINE_bool("clip_rewards", True, "Clip rewards to [-1, 1].")
_MAX_ROWS = flags.DEFINE_integer("max_rows", 50_000, "Rows to use at most.", lower_bound=100)
_SEED = flags.DEFINE_integer("seed", 0, "Of the split (and random features).", lower_bound=0)
_METHOD = flags.DEFINE_string(
    "method", None, "What tables call the features. Default: pvn or random_features."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of probes.jsonl.", required=True)

_IDENTITY = ("game", "method", "targets", "discount", "seed")


def add_row(file: Path, row: dict[str, Any]) -> None:
    """Adds `row` to a JSONL file, in place of a row of the same probe; whole or not at all."""
    rows = []
    if file.is_file():
        try:
            rows = [json.loads(line) for line in file.read_text().splitlines()]
        except ValueError:
            raise UserError(f"{file}: holds a line that is not JSON; move it away") from None
    kept = [r for r in rows if any(r.get(key) != row[key] for key in _IDENTITY)]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "".join(json.dumps(r) + "\n" for r in [*kept, row]))


def main() -> int:
    if not 0 <= _DISCOUNT.value < 1:
        raise UserError(f"--discount={_DISCOUNT.value}: expected a number in [0, 1)")
    if _FEATURES.value == "random":
        features = random_features(like=_LIKE.value, seed=_SEED.value)
    else:
        features = load_features(_FEATURES.value)
    dataset = open_dataset(_DATASET.value)
    with console.progress(len(dataset.rows.action), "states", "features") as bar:
        bar.total = min(bar.total, _MAX_ROWS.value)
        result = probe_values(
            features,
            dataset.rows,
            discount=_DISCOUNT.value,
            clip_rewards=_CLIP.value,
            max_rows=_MAX_ROWS.value,
            seed=_SEED.value,
            report=bar.update,
        )
    row = {
        "game": dataset.attributes["game"],
        "method": _METHOD.value or features.metadata.get("agent", "features"),
        "seed": _SEED.value,
        "targets": _TARGETS.value,
        "discount": _DISCOUNT.value,
        "clip_rewards": _CLIP.value,
        **result._asdict(),
        "num_features": features.num_features,
        "step": features.metadata.get("step"),
        "features": _FEATURES.value,
        "dataset": _DATASET.value,
    }
    add_row(Path(_WORKDIR.value) / "probes.jsonl", row)
    console.say(
        f"{row['method']}: value probe R^2 {result.r2:.3f} "
        f"[{result.r2_low:.3f}, {result.r2_high:.3f}] on {result.num_test_episodes} episodes"
    )
    return 0


if __name__ == "__main__":
    console.run(main)
