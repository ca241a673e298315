"""Completes and checks a features directory before it is shared.

    python -m pvn.features card runs/pong --inputs=runs/pong/eval,runs/pong/probe
    python -m pvn.features check runs/pong

`card` writes the model card (README.md) again: from features.json, and with the probes and scores
of these weights that the inputs hold. `check` verifies the format, SHA-256, weights, the stored
sample of features, heads and card. It prints a line for each, and exits with status 1 if one is
faulty.
"""

from absl import flags

from pvn.card_results import write_card
from pvn.errors import UserError
from pvn.features.check import check_features
from pvn.runs import console
from pvn.storage.paths import normalise_path, normalise_paths

_INPUTS = flags.DEFINE_string(
    "inputs", "", "card: directories with scores.jsonl or probes.jsonl, comma-separated."
)

_USAGE = "python -m pvn.features card|check DIR"


def check(path: str) -> int:
    """Prints a line for each check. Returns the exit status."""
    status = 0
    for finding in check_features(path):
        if finding.is_fault:
            status = 1
            console.say(f"error: {finding.text}")
        else:
            print(finding.text, flush=True)
    return status


def main(verb: str, path: str) -> int:
    if verb not in ("card", "check"):
        raise UserError(f"{verb!r}: expected {_USAGE}")
    path = normalise_path(path, "DIR", local=True)
    if verb == "check":
        return check(path)
    inputs = normalise_paths(_INPUTS.value, "--inputs") if _INPUTS.value else ()
    print(write_card(path, inputs))
    return 0


if __name__ == "__main__":
    console.run(main, usage=_USAGE)
