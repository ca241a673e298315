"""How long collecting, pretraining and evaluating on MinAtar take, with start and compilation.

    python -m benchmarks.minatar [--num_steps=100000] [--pretrain_steps=10000]

Prints one JSON line for each command: collecting timesteps of random Breakout, pretraining on them,
and a linear head on the features that learns from as many interactions, then plays 100 episodes.
"""

import tempfile
import time

from absl import flags

from benchmarks.measure import print_row, run_command
from pvn.runs import console

_NUM_STEPS = flags.DEFINE_integer("num_steps", 100_000, "Timesteps, and interactions.")
_PRETRAIN_STEPS = flags.DEFINE_integer("pretrain_steps", 10_000, "Steps of pretraining.")


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        data, run = f"{name}/data", f"{name}/run"
        steps, pretrain_steps = _NUM_STEPS.value, _PRETRAIN_STEPS.value
        commands = {
            "pvn.collect": (
                steps,
                ("--game=MinAtar/Breakout", f"--num_steps={steps}", f"--dataset={data}"),
            ),
            "pvn.pretrain": (
                pretrain_steps,
                (
                    *("--config=configs/pretrain_minatar.py", f"--config.dataset={data}"),
                    *("--config.batch_size=64", "--config.candidates_per_task=1"),
                    *(f"--config.num_steps={pretrain_steps}", f"--workdir={run}"),
                ),
            ),
            "pvn.evaluate": (
                steps,
                (
                    *(f"--features={run}", f"--config.num_steps={steps}"),
                    *("--config.videos=False", f"--workdir={run}/eval"),
                ),
            ),
        }
        for command, (count, arguments) in commands.items():
            began = time.perf_counter()
            run_command(command, *arguments)
            print_row(case=command, num_steps=count, seconds=time.perf_counter() - began)
    return 0


if __name__ == "__main__":
    console.run(main)
