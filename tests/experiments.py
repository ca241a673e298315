"""The experiment of a small change of the quickstart's config."""

from pathlib import Path

from configs.pretrain import get_config
from pvn import config as cfg
from pvn.experiment import FIELDS, Experiment, prepare
from pvn.indicators.registry import INDICATORS, find_family


def experiment(dataset: Path | str, **fields: object) -> Experiment:
    """The config of the quickstart on one device, with some fields changed."""
    config = get_config()
    config.update({"dataset": str(dataset), "num_devices": 1} | fields)
    family, settings = find_family(config.indicator)
    checked = cfg.check_config(config, FIELDS | INDICATORS | {family: settings})
    return prepare(checked, family, settings)
