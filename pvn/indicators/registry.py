"""The task families by the names that configs use."""

from collections.abc import Callable

from pvn.errors import UserError
from pvn.indicators.hashing import random_hash
from pvn.indicators.indicator import Indicator
from pvn.indicators.random_network import random_cumulant, random_network

# What a seed draws; runs that drew otherwise are not gone on with. 1: random networks in floats.
INDICATORS_VERSION = 2

INDICATORS: dict[str, Callable[..., Indicator]] = {
    "random_network": random_network,
    "random_hash": random_hash,
    "random_cumulant": random_cumulant,
}


def make_indicator(
    name: str,
    *,
    num_tasks: int,
    proportion: float,
    threshold_from: str,
    tasks_per_network: int,
    final_relu: bool,
) -> Indicator:
    """The family called `name` with T tasks; a family takes what it needs of the rest.

    Raises:
      UserError: there is no such family.
    """
    if name not in INDICATORS:
        raise UserError(f"config.indicator: {name!r}, expected one of {', '.join(INDICATORS)}")
    return INDICATORS[name](
        num_tasks=num_tasks,
        proportion=proportion,
        threshold_from=threshold_from,
        tasks_per_network=tasks_per_network,
        final_relu=final_relu,
    )
