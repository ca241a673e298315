"""How fast the responses of tasks are computed, packed to bits as a run stores them.

    python -m benchmarks.responses [--rounds=2]

Prints one JSON line for each case: states/s, and the minutes that 50,000 states would take. Batches
have the size that a run uses on the device. Reading frames and writing files are not timed.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks.measure import CALLS_A_TURN, Call, measure, print_row
from pvn.indicators.packed import packed
from pvn.indicators.registry import INDICATORS
from pvn.indicators.responses import batch_size
from pvn.runs import console
from pvn.types import ATARI

_ROUNDS = flags.DEFINE_integer(
    "rounds", 2, f"Turns of each case, of {CALLS_A_TURN} timed batches.", lower_bound=1
)
_CASES = flags.DEFINE_list(
    "cases",
    "local_network:100:100,local_network:10000:1000,local_network:10000:5000,"
    "random_network:100:50,random_network:10000:50,random_network:10000:1000,"
    "random_network:10000:5000",
    "indicator:T:tasks_per_network, ...",
)
STATES = 50_000


def responses(family: str, num_tasks: int, tasks_per_network: int) -> Call:
    """A call that computes a batch of responses."""
    settings = INDICATORS[family](tasks_per_network=tasks_per_network)
    indicator = packed(settings.indicator(num_tasks), np.zeros(num_tasks, np.float32))
    frozen, _ = indicator.init(jax.random.key(0), jnp.zeros((1, *ATARI.shape), jnp.uint8))
    shape = (batch_size(jax.devices()[0].platform), *ATARI.shape)
    states = jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    return lambda: indicator.response(frozen, states)


def main() -> int:
    cases: dict[str, Callable[[], Call]] = {}
    for case in _CASES.value:
        family, *numbers = case.split(":")
        cases[case] = functools.partial(responses, family, *map(int, numbers))
    measured = measure(cases, _ROUNDS.value)
    size = batch_size(jax.devices()[0].platform)
    for case, (seconds, peak_mib) in measured.items():
        family, num_tasks, tasks_per_network = case.split(":")
        print_row(
            indicator=family,
            num_tasks=int(num_tasks),
            tasks_per_network=int(tasks_per_network),
            batch_size=size,
            states_per_second=size / seconds,
            minutes_for_50_000_states=STATES * seconds / size / 60,
            peak_memory_mib=peak_mib,
        )
    return 0


if __name__ == "__main__":
    console.run(main)
