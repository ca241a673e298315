"""What checkpoints cost a pretraining run: `pvn.pretrain` with many of them, and with none.

    python -m benchmarks.checkpoint [--dataset=data/breakout] [--rounds=3]

Without a dataset it collects one of 5,000 timesteps first. The runs take turns. A checkpoint's cost
is the time that the steps since the checkpoint before took longer than the same steps without;
writing it competes with training for the processor. It prints one JSON line: milliseconds of a step
without checkpoints, seconds that a checkpoint costs, its bytes, and the share of a run with the
config's `checkpoint_every`.
"""

import math
import statistics
import tempfile
from pathlib import Path

from absl import flags

from benchmarks.measure import print_row, run_command
from configs import pretrain
from pvn.runs import console
from pvn.runs.metrics import read_metrics

_DATASET = flags.DEFINE_string("dataset", None, "A dataset. Default: one that is collected.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Runs of each kind.")
_EVERY = flags.DEFINE_integer("every", 50, "Steps between checkpoints, in the runs with them.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", 500, "Steps of a run.")
_FLAGS = flags.DEFINE_multi_string("flag", [], "Further flags of pvn.pretrain.")


def seconds_of_steps(dataset: str, workdir: Path, every: int) -> list[float]:
    """Runs pvn.pretrain; seconds of each `_EVERY` steps but the first, which compile."""
    run_command(
        *("pvn.pretrain", f"--config.dataset={dataset}", f"--workdir={workdir}", "--overwrite"),
        *(f"--config.num_steps={_NUM_STEPS.value}", f"--config.log_every={_EVERY.value}"),
        *(f"--config.checkpoint_every={every}", *_FLAGS.value),
    )
    rows = read_metrics(workdir / "metrics.jsonl")
    # The last rows' checkpoint is that of the end of the run, which both kinds write.
    return [_EVERY.value / (row["steps_per_second"] or math.nan) for row in rows[1:-1]]


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder, dataset = Path(name), _DATASET.value or f"{name}/data"
        if not _DATASET.value:
            run_command(
                "pvn.collect", "--game=Breakout", "--num_steps=5000", f"--dataset={dataset}"
            )
        with_checkpoints, without = [], []
        for _ in range(_ROUNDS.value):
            with_checkpoints += seconds_of_steps(dataset, folder / "with", _EVERY.value)
            without += seconds_of_steps(dataset, folder / "without", 10**9)
        newest = max((folder / "with" / "checkpoints").glob("step_*"))
        size = sum(file.stat().st_size for file in newest.iterdir())
    plain = statistics.median(without)
    cost = statistics.median(with_checkpoints) - plain
    print_row(
        step_ms=1000 * plain / _EVERY.value,
        checkpoint_seconds=cost,
        checkpoint_bytes=size,
        share=cost / (pretrain.get_config().checkpoint_every * plain / _EVERY.value),
    )
    return 0


if __name__ == "__main__":
    console.run(main)
