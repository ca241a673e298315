"""What checkpoints cost a pretraining run: `pvn.pretrain` with many of them, and with none.

    python -m benchmarks.checkpoint --dataset=data/breakout

The runs take turns. A checkpoint's cost is the time that the steps since the checkpoint before took
longer than the same steps without; writing it competes with training for the processor. It prints
one JSON line: milliseconds of a step without checkpoints, seconds that a checkpoint costs, its
bytes, and the share of a run with the config's `checkpoint_every`.
"""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from absl import app, flags

_DATASET = flags.DEFINE_string("dataset", "data/breakout", "A dataset.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/checkpoint_cost", "Scratch directory.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Runs of each kind.")
_EVERY = flags.DEFINE_integer("every", 50, "Steps between checkpoints, in the runs with them.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", 500, "Steps of a run.")
_FLAGS = flags.DEFINE_multi_string("flag", [], "Further flags of pvn.pretrain.")

_DEFAULT_EVERY = 2500  # configs/pretrain.py


def seconds_of_steps(workdir: Path, every: int) -> list[float]:
    """Runs pvn.pretrain; seconds of each `_EVERY` steps but the first, which compile."""
    shutil.rmtree(workdir, ignore_errors=True)
    command = [sys.executable, "-m", "pvn.pretrain", f"--config.dataset={_DATASET.value}"]
    command += [f"--workdir={workdir}", f"--config.num_steps={_NUM_STEPS.value}", *_FLAGS.value]
    command += [f"--config.log_every={_EVERY.value}", f"--config.checkpoint_every={every}"]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    # The last rows' checkpoint is that of the end of the run, which both kinds write.
    return [_EVERY.value / row["steps_per_second"] for row in rows[1:-1]]


def main(unused: list[str]) -> None:
    del unused
    folder = Path(_WORKDIR.value)
    with_checkpoints, without = [], []
    for _ in range(_ROUNDS.value):
        with_checkpoints += seconds_of_steps(folder / "with", _EVERY.value)
        without += seconds_of_steps(folder / "without", 10**9)
    newest = max((folder / "with" / "checkpoints").glob("step_*"))
    plain = statistics.median(without)
    cost = statistics.median(with_checkpoints) - plain
    print(
        json.dumps(
            {
                "step_ms": 1000 * plain / _EVERY.value,
                "checkpoint_seconds": cost,
                "checkpoint_bytes": sum(file.stat().st_size for file in newest.iterdir()),
                "share": cost / (_DEFAULT_EVERY * plain / _EVERY.value),
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
