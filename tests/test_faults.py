"""A short campaign of `benchmarks.faults`: nothing is lost, nothing hangs."""

import json
from collections.abc import Callable
from pathlib import Path

FAULTS = ("sigkill_while_saving", "bad_shard")


def test_a_short_campaign(run: Callable, dataset: Path, tmp_path: Path) -> None:
    result = run(
        "benchmarks.faults", "--trials=1", "--num_steps=60",
        f"--faults={','.join(FAULTS)}",
        f"--dataset={dataset}", f"--workdir={tmp_path}/faults", timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    rows = {row["fault"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert rows.keys() == set(FAULTS)
    for row in rows.values():
        assert (row["wrong"], row["hangs"]) == (0, 0), row
        assert row["resumed"] + row["refused"] == row["tried"] == 1, row
