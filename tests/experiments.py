"""The experiment of a small change of the default config."""

from pathlib import Path

from configs.pretrain import get_config
from pvn.indicators.registry import INDICATORS, find_family
from pvn.pretraining.experiment import FIELDS, Experiment, prepare
from pvn.runs import config as cfg

WHOLE_SCREEN = {
    "indicator": "random_network",
    "num_tasks": 100,
    "cumulants": "raw",
    "feature_norm": "none",
}


def experiment(dataset: Path | str, **fields: object) -> Experiment:
    """The default config with `WHOLE_SCREEN` on one device, with some fields changed."""
    config = get_config()
    config.update({"dataset": str(dataset), "num_devices": 1} | WHOLE_SCREEN | fields)
    family, settings = find_family(config.indicator)
    checked = cfg.check_config(config, FIELDS | INDICATORS | {family: settings})
    return prepare(checked, family, settings)
