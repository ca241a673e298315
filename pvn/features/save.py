"""Writes features to a directory."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import save as save_tensors

from pvn.features.description import FORMAT, VERSION, requires
from pvn.features.features import Features
from pvn.features.tensors import flatten
from pvn.files import write_json, write_whole
from pvn.neighbours import read_source
from pvn.paths import make_folder
from pvn.plugins import plugin_sources


def save_features(path: str | Path, features: Features, card: str | None = None) -> str:
    """Writes a features directory. `features.json` is written last and makes the directory valid.

    A user's own encoder from a file is copied, together with the files beside it that it imports.

    Args:
      path: the directory; made if it does not exist.
      features: the features to save; `metadata` should hold game, dataset and so on.
      card: the model card as Markdown; None for a short one.

    Returns:
      A line that names the packages that the encoder imports and that are not copied. They must be
      installed where the features are loaded. Empty if there are none.

    Raises:
      OSError: a file cannot be written; the error names the file.
    """
    folder = Path(path)
    make_folder(folder, "features")
    metadata = {key: value for key, value in features.metadata.items() if key != "requires"}
    sources = plugin_sources(metadata["encoder"], features.folder)
    if sources.beside:
        single = len(sources.beside) == 1
        for name, source in sources.beside.items():
            target = folder / "encoder.py" if single else folder / "encoder" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, read_source(source))
        copied = "encoder.py" if single else f"encoder/{next(iter(sources.beside))}"
        metadata["encoder"] = f"{copied}:{metadata['encoder'].rpartition(':')[2]}"
    if sources.packages:
        metadata["requires"] = sources.packages
    raw = save_tensors(flatten(features.params))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        **metadata,
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    write_whole(folder / "model.safetensors", raw)
    write_whole(folder / "README.md", card or _card(metadata))
    write_json(folder / "features.json", metadata)
    return requires(metadata)


def weights_sha256(features: Features) -> str:
    """SHA-256 of the file model.safetensors, in hexadecimal. The file need not exist."""
    known = features.metadata.get("sha256")
    return known or hashlib.sha256(save_tensors(flatten(features.params))).hexdigest()


def _card(metadata: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {key} | {value} |"
        for key, value in metadata.items()
        if isinstance(value, str | int | float)
    )
    line = requires(metadata)
    return (
        "# Features\n\nA frozen encoder of Atari observations, uint8 [N, 84, 84, 4] (unscaled, "
        f"newest frame last) to float32 [N, {metadata['num_features']}].\n\n"
        '```python\nimport pvn\nfeatures = pvn.load_features("this/directory")\n```\n\n'
        + (f"{line[0].upper()}{line[1:]}.\n\n" if line else "")
        + f"| | |\n|---|---|\n{rows}\n"
    )
