"""The model card of features: README.md, for a reader who has only the folder."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pvn.features.description import SUCCESSOR_FILE, requires
from pvn.features.observation import shape_of

_FILES = {
    "model.safetensors": "weights of the encoder, float32",
    "features.json": "architecture, protocol, origin, SHA-256 of the files",
    "sample.safetensors": "two observations and their features, to check another port",
    SUCCESSOR_FILE: "heads Q_t(s, a) and the tasks that they predict (optional)",
}

WITHOUT_PVN = """\
from safetensors.numpy import load_file

weights = load_file("model.safetensors")  # {name: float32 array}
print({name: array.shape for name, array in weights.items()})
"""
"""How to read the weights with NumPy and safetensors alone."""


def model_card(metadata: Mapping[str, Any], results: str = "", commands: Iterable[str] = ()) -> str:
    """The card as Markdown, with the front matter that model hubs read.

    Args:
      metadata: the content of features.json. Parts without an entry are left out.
      results: Markdown with probes and scores; empty: the card says that there are none.
      commands: command lines that made these results.
    """
    return (
        "\n\n".join(
            [
                _front(metadata),
                _use(metadata),
                _files(metadata),
                *_data(metadata),
                *_protocol(metadata),
                *_training(metadata),
                "## Probes and scores",
                results.strip()
                or "None yet. `python -m pvn.features card DIR --inputs=...` writes them here.",
                *_origin(metadata, commands),
            ]
        ).rstrip()
        + "\n"
    )


def _front(metadata: Mapping[str, Any]) -> str:
    game, step = metadata.get("game"), metadata.get("step")
    tags = ["reinforcement-learning", "representation-learning", "atari"]
    title = f"Features of {game}" if game else "Features"
    unit = "agent steps with rewards" if metadata.get("trained_by") else "steps"
    where = "" if step is None else f" after {step:,} {unit}"
    of = f"agent `{metadata['agent']}`, " if "agent" in metadata else ""
    seed = f", seed {metadata['seed']}" if "seed" in metadata else ""
    sizes = ", ".join(map(str, shape_of(metadata)))
    return (
        f"---\nlibrary_name: pvn\ntags: [{', '.join(tags)}]\n---\n\n# {title}\n\n"
        f"A frozen encoder of observations, uint8 [N, {sizes}] (unscaled, newest frame "
        f"last) to float32 [N, {metadata['num_features']}]: {of}encoder `{metadata['encoder']}`, "
        f"width {metadata['width']}{where}{seed}."
    )


def _use(metadata: Mapping[str, Any]) -> str:
    line = requires(metadata)
    needed = f"\n\n{line[0].upper()}{line[1:]}." if line else ""
    own = ":" in f"{metadata['encoder']}{metadata.get('successor', {}).get('indicator', '')}"
    code = " Loading runs the Python files in this folder: read them first." if own else ""
    return (
        '## Use\n\n```python\nimport pvn\n\nfeatures = pvn.load_features("this/directory")\n'
        "x = features(observations)\n```\n\nThe weights alone need NumPy and safetensors, and no "
        f"code of pvn. Nothing here is a pickle.{code}\n\n```python\n{WITHOUT_PVN}```{needed}"
    )


def _files(metadata: Mapping[str, Any]) -> str:
    digests = {
        "model.safetensors": metadata.get("sha256"),
        "sample.safetensors": metadata.get("sample_sha256"),
        SUCCESSOR_FILE: metadata.get("successor", {}).get("sha256"),
    }
    rows = [
        (f"`{name}`", what, f"`{digests[name]}`" if name in digests else "")
        for name, what in _FILES.items()
        if name not in digests or digests[name]
    ]
    return "## Files\n\n" + table(("file", "content", "SHA-256"), rows)


def _data(metadata: Mapping[str, Any]) -> list[str]:
    dataset = metadata.get("dataset")
    if not dataset:
        return []
    facts = {"game": metadata.get("game"), "actions": metadata.get("num_actions"), **dataset}
    return ["## Training data", _facts(facts)]


def _protocol(metadata: Mapping[str, Any]) -> list[str]:
    protocol = metadata.get("protocol")
    return ["## Observations", _facts(protocol)] if protocol else []


def _training(metadata: Mapping[str, Any]) -> list[str]:
    if by := metadata.get("trained_by"):  # after any pretraining, whose settings are not these
        step = metadata.get("step")
        duration = "" if step is None else f" for {step:,} agent steps"
        return ["## Training", f"Trained with rewards by `{by}`{duration}."]
    config = metadata.get("pretraining")
    if not config:
        return []
    family = str(config.get("indicator")).rpartition(":")[2]
    facts = {}
    for name, value in config.items():
        if not isinstance(value, Mapping):
            facts[name] = value
        elif name == family:  # the sections of other families have no effect
            facts |= {f"{name}.{field}": each for field, each in value.items()}
    return ["## Pretraining", "Without rewards. The settings:", _facts(facts)]


def _origin(metadata: Mapping[str, Any], commands: Iterable[str]) -> list[str]:
    lines = [*([metadata["command"]] if "command" in metadata else []), *commands]
    parts = []
    if lines:
        parts += ["## How they were made", "```bash\n" + "\n".join(lines) + "\n```"]
    if versions := metadata.get("versions"):
        parts += ["## Versions", _facts(versions)]
    return parts


def _facts(facts: Mapping[str, Any]) -> str:
    """A table of names and values; a value that is None is left out."""
    rows = [(name, _text(value)) for name, value in facts.items() if value is not None]
    return table(("", ""), rows)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
