"""How fast a train step is, compared with a matrix product and with the published formulation.

    python -m benchmarks.train_step [--rounds=5] [--end_to_end]

Prints one JSON line for each case. `gflops` is the number of multiplications and additions per
second of the learning network, counted by hand. Indicator networks are not counted, because those
of pvn are not in the step. `share_of_matmul` is `gflops` divided by that of a float32 2048^3 matrix
product in the same rounds. `peak_memory_mib` is the device's peak if the device reports it, else
that of the case's own process, which includes JAX itself. `--end_to_end` also runs the command
`python -m pvn.pretrain` and compares its steps/s with the bare step.
"""

import functools
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.measure import MATMUL_GFLOP, matrix_product, measure, print_row, run_command
from benchmarks.steps import NUM_ACTIONS, NUM_FEATURES, ours, published
from pvn.runs import console
from pvn.runs.metrics import read_metrics

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each case, of 4 timed steps.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Batch size.", lower_bound=1)
_CASES = flags.DEFINE_list("cases", "nature:100,nature:1000,impala:100", "encoder:T, ...")
_END_TO_END = flags.DEFINE_bool("end_to_end", False, "Also time python -m pvn.pretrain.")


def forward_flop(encoder: str) -> tuple[float, float]:
    """FLOP of one state's forward pass, counted by hand: (whole encoder, its first layer)."""

    def conv(side: int, kernel: int, inputs: int, outputs: int) -> float:
        return 2.0 * side**2 * kernel**2 * inputs * outputs

    if encoder == "nature":
        layers = [conv(21, 8, 4, 32), conv(11, 4, 32, 64), conv(11, 3, 64, 64)]
        flat = 11 * 11 * 64
    else:
        layers, inputs, side = [], 4, 84
        for channels in (16, 32, 32):
            layers.append(conv(side, 3, inputs, channels))
            side = -(-side // 2)
            layers += [conv(side, 3, channels, channels)] * 4
            inputs = channels
        flat = 11 * 11 * 32
    return sum(layers) + 2.0 * flat * NUM_FEATURES, layers[0]


def step_flop(encoder: str, num_tasks: int, batch_size: int) -> float:
    """FLOP of a step: forward and backward pass of the online network, forward pass of the target.

    The heads are included. A backward pass is twice a forward pass, without the first layer's
    gradient with respect to its input, which is not needed.
    """
    whole, first = forward_flop(encoder)
    heads = 2.0 * NUM_FEATURES * num_tasks * NUM_ACTIONS
    return batch_size * (4 * (whole + heads) - first)


def end_to_end(batch_size: int) -> None:
    """Prints the steps/s of `pvn.pretrain` and of the bare step, timed before and after it."""
    bare = {"bare": functools.partial(ours, "nature", 100, batch_size)}
    before = measure(bare, 25)["bare"].seconds
    with tempfile.TemporaryDirectory() as folder:
        data, workdir = f"{folder}/data", f"{folder}/run"
        run_command("pvn.collect", "--game=Pong", "--num_steps=5000", f"--dataset={data}")
        run_command(
            "pvn.pretrain",
            *(f"--config.dataset={data}", f"--workdir={workdir}"),
            *("--config.indicator=random_network", "--config.num_tasks=100"),
            *("--config.cumulants=raw", "--config.feature_norm=none"),
            *("--config.num_steps=800", "--config.log_every=100", "--config.checkpoint_every=800"),
            f"--config.batch_size={batch_size}",
        )
        rows = read_metrics(Path(workdir) / "metrics.jsonl")
    after = measure(bare, 25)["bare"].seconds
    speed = float(np.median([row["steps_per_second"] for row in rows[1:]]))
    bare_speed = 2 / (before + after)
    print_row(
        case="pretrain end to end",
        encoder="nature",
        num_tasks=100,
        batch_size=batch_size,
        steps_per_second=speed,
        bare_steps_per_second=bare_speed,
        share_of_bare=speed / bare_speed,
        data_wait_share=float(np.median([row["data_wait_share"] for row in rows[1:]])),
    )


def main() -> int:
    batch_size = _BATCH.value
    for case in _CASES.value:
        encoder, tasks = case.split(":")
        num_tasks = int(tasks)
        measured = measure(
            {
                "matmul": matrix_product,
                "pvn": functools.partial(ours, encoder, num_tasks, batch_size),
                "published": functools.partial(published, encoder, num_tasks, batch_size),
            },
            _ROUNDS.value,
        )
        gflop = step_flop(encoder, num_tasks, batch_size) / 1e9
        matmul = MATMUL_GFLOP / measured["matmul"].seconds
        for name in ("pvn", "published"):
            seconds, peak_mib = measured[name]
            print_row(
                case=name,
                encoder=encoder,
                num_tasks=num_tasks,
                batch_size=batch_size,
                ms=1e3 * seconds,
                transitions_per_second=batch_size / seconds,
                gflops=gflop / seconds,
                share_of_matmul=gflop / seconds / matmul,
                peak_memory_mib=peak_mib,
                speedup=measured["published"].seconds / seconds,
            )
    if _END_TO_END.value:
        end_to_end(batch_size)
    return 0


if __name__ == "__main__":
    console.run(main)
