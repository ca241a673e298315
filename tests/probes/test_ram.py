"""The target `ram`."""

from pathlib import Path

import numpy as np
import pytest

from pvn.data.store import open_dataset
from pvn.envs.ram import find_variables
from pvn.errors import UserError
from pvn.probes.ram import RamTarget


def test_the_variables_that_vary(dataset: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("pvn.probes.ram.SHARD_ROWS", 1000)
    found, target = open_dataset(dataset), RamTarget()
    values, known = target.targets(found, tmp_path)
    assert values.dtype == np.float32
    assert known.all()
    assert known.shape == values.shape == (3000, len(target.names))
    variables = find_variables("Breakout")
    assert {"ball_x", "ball_y", "player_x", "blocks_hit_count"} <= {*target.names}
    ram = found.rows.ram[:]
    for name, column in zip(target.names, values.T, strict=True):
        np.testing.assert_array_equal(column, ram[:, variables[name]])
        assert np.ptp(column) > 0
    for name in variables.keys() - {*target.names}:
        assert np.ptp(ram[:, variables[name]]) == 0


def test_refusals(dataset: Path, tmp_path: Path) -> None:
    found = open_dataset(dataset)
    without = found._replace(rows=found.rows._replace(ram=None))
    with pytest.raises(UserError, match=r"^target ram: dataset .* holds no RAM; collect one with"):
        RamTarget().targets(without, tmp_path)
    other = found._replace(attributes=found.attributes | {"game": "Alien"})
    with pytest.raises(UserError, match="the RAM of Alien is not annotated"):
        RamTarget().targets(other, tmp_path)
    still = found._replace(rows=found.rows._replace(ram=np.zeros((3000, 128), np.uint8)))
    with pytest.raises(UserError, match="no variable varies"):
        RamTarget().targets(still, tmp_path)
