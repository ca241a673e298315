"""`python -m pvn.suite` through the real commands at the smallest sizes."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pvn.data.store import open_dataset
from pvn.errors import UserError
from pvn.evaluation.records import parse_probe, read_rows
from pvn.suite.cells import Cell, expand
from pvn.suite.complete import is_complete
from pvn.suite.plan import read_plan
from pvn.suite.process import last_progress
from pvn.suite.record import check_same_commands, log_file, read_record

SUITES = sorted((Path(__file__).parents[1] / "configs").glob("suite_*.py"))
CONFIG = """
import ml_collections

def get_config():
    config = ml_collections.ConfigDict()
    config.games = ("Pong", "Breakout")
    config.seeds = (0,)
    config.datasets = {"random": {"flags": {"num_steps": 3000}}}
    tasks = {"num_features": 32, "num_tasks": 4}
    config.pretrainings = {
        "pvn": {"dataset": "random", "overrides": {"num_steps": 2, "batch_size": 4, **tasks}}
    }
    sizes = {"num_envs": 2, "num_steps": 400, "learn_after": 100, "eval_episodes": 2}
    sizes |= {"eval_epsilon": 1.0, "fqi": {"sweeps": 0}}
    config.agents = {
        "pvn": {
            "features": "pvn", "overrides": sizes, "flags": {"save_dataset": "{workdir}/data"}
        },
    }
    config.probes = {"value": {"agents": "agent:pvn", "dataset": "random"}}
    return config
"""


@pytest.fixture(scope="module")
def suite(run: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Cell], str]:
    """A suite that ran: its directory, its cells, what it printed."""
    folder = tmp_path_factory.mktemp("suite")
    config, workdir = folder / "config.py", folder / "results"
    config.write_text(CONFIG)
    flags = f"--config={config}", "--config.games=Breakout", f"--workdir={workdir}", "--jobs=2"
    result = run("pvn.suite", *flags)
    assert result.returncode == 0, result.stderr
    scope: dict = {}
    exec(CONFIG, scope)
    values = scope["get_config"]().to_dict() | {"games": "Breakout"}
    return workdir, expand(read_plan(values), str(workdir)), result.stderr


def test_all_cells_are_complete_and_each_is_a_line(suite: tuple) -> None:
    workdir, cells, printed = suite
    kinds = ["data/random", "pretrain/pvn", "evaluate/pvn", "probe/value-pvn_features"]
    assert [cell.kind for cell in cells] == kinds
    assert all(map(is_complete, cells))
    lines = printed.splitlines()
    assert {line.partition("  ")[0] for line in lines[:-1]} == {"done"}
    assert sorted(line.split()[1] for line in lines[:-1]) == sorted(cell.name for cell in cells)
    assert lines[-1] == f"{workdir}: 4 done, 0 running, 0 waiting"


def test_the_report_is_that_of_the_complete_cells(suite: tuple) -> None:
    workdir, cells, _ = suite
    report = (workdir / "report" / "report.md").read_text()
    assert f"{workdir}/Breakout/0/evaluate/pvn" in report
    assert f"{workdir}/Breakout/0/probe/value-pvn_features" in report
    progress = {cell.kind: last_progress(cell) for cell in cells if is_complete(cell)}
    assert progress["data/random"][:3] == ("collect Breakout", 3000, 3000)
    assert progress["evaluate/pvn"][0] == "videos"  # the last thing that it does
    units = {kind: bar.unit for kind, bar in progress.items()}
    assert units["data/random"] == "steps"
    assert units["evaluate/pvn"] == "steps"


def test_what_an_agent_learned_is_probed_and_what_it_played_is_a_dataset(suite: tuple) -> None:
    workdir, _, _ = suite
    policy = workdir / "Breakout" / "0" / "evaluate" / "pvn" / "policy"
    probed = list(
        read_rows(workdir / "Breakout/0/probe/value-pvn_features/probes.jsonl", parse_probe)
    )
    assert {row.features["path"] for _, row in probed} == {str(policy)}
    assert {row.agent for _, row in probed} == {"pvn_features"}
    played = open_dataset(f"{policy.parent}/data")
    assert played.attributes["source"]["agent"] == "pvn"


def test_what_completeness_depends_on(suite: tuple) -> None:
    _, cells, _ = suite
    by_kind = {cell.kind: cell for cell in cells}
    larger = by_kind["data/random"]._replace(
        command=(*by_kind["data/random"].command, "--num_steps=3001")
    )
    assert not is_complete(larger)
    assert not is_complete(larger._replace(command=(*larger.command, "--num_steps=3e3")))
    probe = by_kind["probe/value-pvn_features"]
    own = probe._replace(command=(*probe.command, "--targets=value,my.py:Own"))
    assert not is_complete(own)
    # The rows of the diagnostics alone are many; they say nothing about the target.
    rows = Path(probe.workdir) / "probes.jsonl"
    whole = rows.read_text()
    lines = whole.splitlines(keepends=True)
    measured = [line for line in lines if json.loads(line)["target"] == "features"]
    assert 1 < len(measured) < len(lines)
    rows.write_text("".join(measured))
    assert not is_complete(probe)
    rows.write_text("".join(line for line in lines if line not in measured))
    assert not is_complete(probe)
    assert is_complete(probe._replace(command=(*probe.command, "--diagnostics=False")))
    rows.write_text(whole.replace('"target": "value"', '"target": "Own"'))
    assert is_complete(probe._replace(command=(*probe.command, "--targets=my.py:Own")))
    rows.write_text(whole)
    assert is_complete(probe)
    features = Path(by_kind["pretrain/pvn"].workdir) / "features" / "features.json"
    text = features.read_text()
    features.write_text(text.replace('"step": 2', '"step": 1'))
    assert not is_complete(by_kind["pretrain/pvn"])
    features.write_text(text)
    assert is_complete(by_kind["pretrain/pvn"])


def test_another_command_in_the_same_place_is_refused(suite: tuple) -> None:
    workdir, cells, _ = suite
    cell = next(cell for cell in cells if cell.kind == "evaluate/pvn")
    check_same_commands(cells, str(workdir))
    record = read_record(cell)
    assert record is not None
    assert str(workdir) not in " ".join(record.command)  # the directory may move
    changed = cell._replace(
        command=tuple(word.replace("num_steps=400", "num_steps=800") for word in cell.command)
    )
    with pytest.raises(UserError) as caught:
        check_same_commands([changed], str(workdir))
    assert "was started with --config.num_steps=400, the config now says " in str(caught.value)
    assert "--config.num_steps=800; name another --workdir" in str(caught.value)


def test_a_log_tells_the_command(suite: tuple) -> None:
    _, cells, _ = suite
    assert " ".join(cells[0].command) in log_file(cells[0]).read_text()


def _settings(cell: Cell) -> tuple[str, ...]:
    return (cell.command[0], *(word for word in cell.command if word.startswith("--config")))


@pytest.mark.parametrize("path", SUITES, ids=[path.stem for path in SUITES])
def test_shipped_commands_lack_nothing_but_data(path: Path, run: Callable, tmp_path: Path) -> None:
    plan = importlib.import_module(f"configs.{path.stem}").get_config().to_dict()
    cells = expand(read_plan(plan | {"games": plan["games"][:1], "seeds": (0,)}), str(tmp_path))
    commands = {
        _settings(cell): cell.command
        for cell in cells
        if cell.needs and cell.command[0] in ("pvn.pretrain", "pvn.evaluate")
    }
    assert commands
    for module, *arguments in commands.values():
        (line,) = run(module, *arguments).stderr.splitlines()
        assert line.startswith("error: "), line
        assert f"{tmp_path}/" in line
