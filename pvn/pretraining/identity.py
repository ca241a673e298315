"""By what a pretraining run is recognised: its config, data, and the user's own files."""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from pvn.errors import UserError
from pvn.indicators.registry import INDICATORS, INDICATORS_VERSION
from pvn.learning.parallel import from_first
from pvn.plugins import plugin_file, plugin_identity
from pvn.pretraining.experiment import Experiment

MAY_CHANGE = (
    *("dataset", "num_steps", "num_devices", "data_residency", "steps_together"),
    *("checkpoint_every", "checkpoint_minutes", "keep_checkpoints"),
    "export_successor",
    *("encoder_path", "indicator_path"),
)


def check_same(e: Experiment) -> None:
    """Checks that all processes have the same config and the same columns of the dataset.

    Also that they keep the frames in the same memory and draw in the same place: that depends on
    the memory of their devices.

    Raises:
      UserError: this process differs from the first.
    """
    config: list[Any] = [
        json.dumps([e.config.to_dict(), e.on_device, e.device_draws], sort_keys=True).encode()
    ]
    columns: list[Any] = [
        np.ascontiguousarray(column) for column in e.dataset.rows.columns.values()
    ]
    for what, parts in (("the config", config), (f"dataset {e.config.dataset}", columns)):
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        mine = np.frombuffer(digest.digest(), np.uint8)
        if not np.array_equal(mine, from_first(mine)):
            raise UserError(f"{what} differs from that of process 0, expected the same everywhere")


def fingerprint_of(e: Experiment) -> str:
    """The fingerprint of the data, which the first process reads for all."""
    raw = np.zeros(64, np.uint8)
    if jax.process_index() == 0:
        raw = np.frombuffer(e.dataset.compute_fingerprint().encode(), np.uint8)
    return bytes(from_first(raw)).decode()


def identity_of(e: Experiment, fingerprint: str) -> dict[str, Any]:
    """The content of config.json, by which a run is recognised.

    It is the config without the sections of the other indicators, the dataset's fingerprint, the
    version of the indicators, and hashes of the user's own files.
    """
    others = (*INDICATORS.keys() - {e.family},)
    identity = {key: value for key, value in e.config.to_dict().items() if key not in others}
    identity |= {"dataset_fingerprint": fingerprint, "indicators_version": INDICATORS_VERSION}
    for kind in ("encoder", "indicator"):
        if files := plugin_identity(e.config[kind]):
            identity |= {kind: _short(e.config[kind]), f"{kind}_path": e.config[kind]}
            identity[f"{kind}_files"] = files
    return identity


def _short(name: str) -> str:
    """`file.py:Name` of `path/to/file.py:Name`: a file that moved is the same."""
    file = plugin_file(name)
    return f"{file.name}:{name.rpartition(':')[2]}" if file else name
