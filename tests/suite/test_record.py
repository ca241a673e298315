"""What a suite remembers of its cells: results of another config are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from pvn.errors import UserError
from pvn.suite.cells import Cell, expand
from pvn.suite.plan import read_plan
from pvn.suite.record import check_same_commands, write_listed, write_record

POLICY = "w/dqn"  # not a cell's directory, though it begins like one


def _cells(root: Path | str, **changes: Any) -> list[Cell]:
    config = {
        "games": ("Pong",),
        "seeds": (0,),
        "datasets": {"random": {"flags": {"num_steps": 500, "policy": POLICY}}},
        "pretrainings": {"pvn": {"dataset": "random", "overrides": {"num_steps": 3} | changes}},
        "agents": {
            "pvn": {"features": "pvn"},
            "untrained": {"features": "random"},
        },
        "probes": {},
    }
    return expand(read_plan(config), str(root))


def _run(cells: list[Cell]) -> None:
    for cell in cells:
        Path(cell.workdir).mkdir(parents=True)
        write_record(cell, 1.0, True)


def test_commands_move_with_the_suite_but_not_paths_of_the_config() -> None:
    data, learned, *_ = _cells("w")
    assert data.movable_command[2:4] == ("--seed=0", "--dataset={workdir}/Pong/0/data/random")
    assert f"--policy={POLICY}" in data.movable_command
    assert "--config.dataset={workdir}/Pong/0/data/random" in learned.movable_command
    moved = _cells("/some/where")
    assert [cell.movable_command for cell in moved] == [
        cell.movable_command for cell in _cells("w")
    ]
    assert [cell.inputs for cell in moved] == [cell.inputs for cell in _cells("w")]


def test_inputs_change_with_all_that_a_cell_is_made_of() -> None:
    data, learned, played, untrained = _cells("w")
    _, other_learned, other_played, other_untrained = _cells("w", num_tasks=5)
    assert data.inputs == untrained.inputs == other_untrained.inputs == ""
    assert learned.inputs == other_learned.inputs != ""
    assert played.inputs != other_played.inputs
    assert played.inputs not in (learned.inputs, "")


def test_results_of_another_config_are_refused_all_at_once(tmp_path: Path) -> None:
    cells = _cells(tmp_path)
    _run(cells)
    check_same_commands(cells, str(tmp_path))
    with pytest.raises(UserError) as caught:
        check_same_commands(_cells(tmp_path, num_tasks=5), str(tmp_path))
    learned, played = (tmp_path / "Pong/0" / name for name in ("pretrain/pvn", "evaluate/pvn"))
    assert str(caught.value) == (
        "--workdir: cell Pong/0/pretrain/pvn was started with nothing, the config now says "
        "--config.num_tasks=5; name another --workdir, or delete what the old config made: "
        f"{learned}, {played}"
    )


def test_results_made_of_what_was_deleted_are_refused(tmp_path: Path) -> None:
    _run(_cells(tmp_path))
    (tmp_path / "Pong/0/pretrain/pvn").rmdir()  # and not what was made of it
    with pytest.raises(UserError) as caught:
        check_same_commands(_cells(tmp_path, num_tasks=5), str(tmp_path))
    assert "cell Pong/0/evaluate/pvn was made of another Pong/0/pretrain/pvn than the" in str(
        caught.value
    )
    (tmp_path / "Pong/0/evaluate/pvn").rmdir()
    check_same_commands(_cells(tmp_path, num_tasks=5), str(tmp_path))


def test_results_of_listed_commands_are_compared_too(tmp_path: Path) -> None:
    cells = _cells(tmp_path)
    write_listed(cells, str(tmp_path))
    changed = _cells(tmp_path, num_tasks=5)
    check_same_commands(changed, str(tmp_path))  # nothing ran
    for cell in cells:
        Path(cell.workdir).mkdir(parents=True)
    check_same_commands(cells, str(tmp_path))
    with pytest.raises(UserError, match="Pong/0/pretrain/pvn was started with nothing"):
        check_same_commands(changed, str(tmp_path))
    # Another suite of the same directory keeps what is known of the first.
    others = expand(
        read_plan({"games": ("Boxing",), "seeds": (0,), "datasets": {"random": {}}}), str(tmp_path)
    )
    write_listed(others, str(tmp_path))
    with pytest.raises(UserError, match="Pong/0/pretrain/pvn was started with nothing"):
        check_same_commands(changed, str(tmp_path))


def test_a_damaged_list_is_made_again(tmp_path: Path) -> None:
    cells = _cells(tmp_path)
    for damaged in ("", "[1]", "5", "{"):
        (tmp_path / "listed.json").write_text(damaged)
        check_same_commands(cells, str(tmp_path))
    write_listed(cells, str(tmp_path))
    assert set(json.loads((tmp_path / "listed.json").read_text())) == {x.name for x in cells}


def test_records_of_a_moved_suite_agree(tmp_path: Path) -> None:
    _run(_cells(tmp_path / "before"))
    (tmp_path / "before").rename(tmp_path / "after")
    check_same_commands(_cells(tmp_path / "after"), str(tmp_path))
