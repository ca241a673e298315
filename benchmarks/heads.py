"""What more tasks cost a train step: all cases of a batch size in one run.

    python -m benchmarks.heads [--rounds=5] [--batch_sizes=32,256] [--tasks=100,1000,10000]

Prints one JSON line for each case: the step of pvn (`pvn`), the same with glibc's malloc as it is
(`plain_malloc`), and one with heads that compute the values of all actions (`all_values`).
`times_first` is its time divided by that of pvn with the first number of tasks.
`bandwidth_share`: the bytes that the additional heads must move, divided by the additional time and
by the memory bandwidth, which is measured by adding 1 to an array in place.
"""

import functools
from collections.abc import Callable

from absl import flags

from benchmarks.measure import ADDED_BYTES, Call, add_one, measure, print_row
from benchmarks.steps import NUM_ACTIONS, NUM_FEATURES, all_values, ours
from pvn.runs import console

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each case, of 4 timed steps.", lower_bound=1)
_ENCODER = flags.DEFINE_enum("encoder", "nature", ["nature", "impala"], "Encoder.")
_BATCHES = flags.DEFINE_list("batch_sizes", "32,256", "Batch sizes.")
_TASKS = flags.DEFINE_list("tasks", "100,1000,10000", "Numbers of tasks, the smallest first.")


# The default. Any setting of malloc in the environment keeps pvn from its own.
PLAIN_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}

KINDS = {"pvn": ours, "plain_malloc": ours, "all_values": all_values}


def head_bytes(num_tasks: int) -> int:
    """Bytes that Adam and the target's average must move for the heads, each array once.

    Parameters and two moments are read and written, the gradient is written and read, and the
    target, A times smaller, is read and written: 32 bytes a weight, and 8 / A.
    """
    return NUM_FEATURES * num_tasks * (32 * NUM_ACTIONS + 8)


def main() -> int:
    tasks = [int(text) for text in _TASKS.value]
    for batch_size in map(int, _BATCHES.value):
        cases: dict[str, Callable[[], Call]] = {"memory": add_one}
        for kind, make in KINDS.items():
            for number in tasks:
                cases[f"{kind}:{number}"] = functools.partial(
                    make, _ENCODER.value, number, batch_size
                )
        plain = {name: PLAIN_MALLOC for name in cases if name.startswith("plain_malloc:")}
        measured = measure(cases, _ROUNDS.value, plain)
        bandwidth = ADDED_BYTES / measured["memory"].seconds
        for name in list(cases)[1:]:
            kind, text = name.split(":")
            count = int(text)
            seconds, peak_mib = measured[name]
            # The step of pvn with the first number of tasks, and the same malloc.
            base = "plain_malloc" if kind == "plain_malloc" else "pvn"
            first = measured[f"{base}:{tasks[0]}"].seconds
            beyond = head_bytes(count) - head_bytes(tasks[0])
            print_row(
                case=kind,
                encoder=_ENCODER.value,
                num_tasks=count,
                batch_size=batch_size,
                ms=1e3 * seconds,
                times_first=seconds / first,
                bandwidth_share=beyond / bandwidth / (seconds - first) if beyond else None,
                bandwidth_gb_per_second=bandwidth / 1e9,
                peak_memory_mib=peak_mib,
            )
    return 0


if __name__ == "__main__":
    console.run(main)
