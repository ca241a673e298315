"""What a config expands to, held against commands and needs written by hand."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from pvn.suite.cells import Cell, expand
from pvn.suite.lists import stages
from pvn.suite.plan import read_plan

ROOT = Path(__file__).parents[2]
TABLE = [
    line for line in (ROOT / "docs" / "suite.md").read_text().splitlines() if line.startswith("|")
]

CONFIG: dict[str, Any] = {
    "games": ("Pong", "Breakout"),
    "seeds": (3,),
    "datasets": {"random": {"flags": {"num_steps": 500}}},
    "pretrainings": {"pvn": {"dataset": "random", "overrides": {"fqi": {"a": 1}, "b": True}}},
    "agents": {
        "pvn": {"features": "pvn"},
        "last_layer": {"features": "agent:dqn", "config": "c.py"},
        "dqn": {"features": "random", "like": "pvn", "overrides": {"head": "dqn"}},
        "random_policy": {"features": "none", "flags": {"other": "{game}/{seed}/{run}"}},
    },
    "probes": {"value": {"agents": "pvn,last_layer", "dataset": "random"}},
}


def _cells(**changes: Any) -> dict[str, Cell]:
    return {cell.name: cell for cell in expand(read_plan(CONFIG | changes), "w")}


def test_cells_by_hand() -> None:
    cells = _cells(games="Pong")
    evaluate, p = "configs/evaluate.py", "w/Pong/3"
    expected = [
        Cell(
            "Pong/3/data/random",
            (*("pvn.collect", "--game=Pong", "--seed=3"), f"--dataset={p}/data/random")
            + ("--num_steps=500",),
            (),
            f"{p}/data/random",
        ),
        Cell(
            "Pong/3/pretrain/pvn",
            (*("pvn.pretrain", "--config=configs/pretrain.py"),)
            + (f"--config.dataset={p}/data/random", "--config.seed=3", "--config.fqi.a=1")
            + ("--config.b=True", f"--workdir={p}/pretrain/pvn"),
            ("Pong/3/data/random",),
            f"{p}/pretrain/pvn",
        ),
        Cell(
            "Pong/3/evaluate/pvn",
            (*("pvn.evaluate", f"--config={evaluate}", "--game=Pong"),)
            + (f"--features={p}/pretrain/pvn", "--agent=pvn", "--config.seed=3")
            + (f"--workdir={p}/evaluate/pvn",),
            ("Pong/3/pretrain/pvn",),
            f"{p}/evaluate/pvn",
        ),
        Cell(
            "Pong/3/evaluate/dqn",
            (*("pvn.evaluate", f"--config={evaluate}", "--game=Pong", "--features=random"),)
            + ("--agent=dqn", f"--like={p}/pretrain/pvn", "--config.seed=3")
            + ("--config.head=dqn", f"--workdir={p}/evaluate/dqn"),
            ("Pong/3/pretrain/pvn",),
            f"{p}/evaluate/dqn",
        ),
        Cell(
            "Pong/3/evaluate/last_layer",
            (*("pvn.evaluate", "--config=c.py", "--game=Pong"),)
            + (f"--features={p}/evaluate/dqn/policy", "--agent=last_layer", "--config.seed=3")
            + (f"--workdir={p}/evaluate/last_layer",),
            ("Pong/3/evaluate/dqn",),
            f"{p}/evaluate/last_layer",
        ),
        Cell(
            "Pong/3/evaluate/random_policy",
            (*("pvn.evaluate", f"--config={evaluate}", "--game=Pong", "--features=none"),)
            + ("--agent=random_policy", "--config.seed=3", f"--workdir={p}/evaluate/random_policy")
            + ("--other=Pong/3/4",),
            (),
            f"{p}/evaluate/random_policy",
        ),
        *(
            Cell(
                f"Pong/3/probe/value-{agent}",
                (*("pvn.probe", f"--features={p}/{path}", f"--agent={agent}"),)
                + (f"--dataset={p}/data/random", "--seed=3", f"--workdir={p}/probe/value-{agent}"),
                (needed, "Pong/3/data/random"),
                f"{p}/probe/value-{agent}",
            )
            for agent, path, needed in [
                ("pvn", "pretrain/pvn", "Pong/3/pretrain/pvn"),
                ("last_layer", "evaluate/dqn/policy", "Pong/3/evaluate/dqn"),
            ]
        ),
    ]
    assert [cell._replace(inputs="") for cell in cells.values()] == expected


def test_all_games_of_a_seed_come_before_the_next_seed() -> None:
    names = list(_cells(seeds=(0, 1)))
    assert names == [
        f"{game}/{seed}/{rest}"
        for seed in (0, 1)
        for game in ("Pong", "Breakout")
        for rest in [name.split("/", 2)[2] for name in _cells(games="Pong")]
    ]


def test_varied_values_pass_on_to_what_uses_them() -> None:
    cells = _cells(
        games="Pong",
        datasets={"random": {"vary": {"num_steps": (100, 200)}}},
        pretrainings={"pvn": {"dataset": "random", "vary": {"fqi": {"a": (0.5, 1.0)}}}},
        agents={"pvn": {"features": "pvn"}, "random": {"features": "random"}},
        probes={"value": {"agents": ("pvn", "random"), "dataset": "random"}},
    )
    both = [f"-num_steps={n}-a={a}" for a in (0.5, 1.0) for n in (100, 200)]
    steps = ["-num_steps=100", "-num_steps=200"]
    assert sorted(name.removeprefix("Pong/3/") for name in cells) == sorted(
        [f"data/random{x}" for x in steps]
        + [f"pretrain/pvn{x}" for x in both]
        + [f"evaluate/pvn{x}" for x in both]
        + ["evaluate/random"]
        # Never the features of one dataset on the other.
        + [f"probe/value-pvn{x}" for x in both]
        + [f"probe/value-random{x}" for x in steps]
    )
    cell = cells["Pong/3/probe/value-pvn-num_steps=200-a=0.5"]
    assert cell.needs == (
        "Pong/3/pretrain/pvn-num_steps=200-a=0.5",
        "Pong/3/data/random-num_steps=200",
    )
    assert "--agent=pvn-num_steps=200-a=0.5" in cell.command
    for x in steps:  # rows of the same features on other data have another name
        assert f"--agent=random{x}" in cells[f"Pong/3/probe/value-random{x}"].command
    assert "--config.fqi.a=0.5" in cells[cell.needs[0]].command
    assert "--num_steps=200" in cells[cell.needs[1]].command


def test_probes_of_advantages_share_their_rollouts() -> None:
    probes = {"agents": "pvn,last_layer", "dataset": "random"}
    asked = probes | {"flags": {"targets": ("value", "advantage")}}
    several = {"all": asked, "value": probes, "own": asked | {"command": "own.probe"}}
    for name, cell in _cells(games="Pong", probes=several).items():
        shared = "--rollouts_dir=w/Pong/3/probe/rollouts" in cell.command
        assert shared == name.startswith("Pong/3/probe/all")


def test_flags_may_name_other_cells() -> None:
    played = {"flags": {"policy": "{agent:random}"}}
    cells = _cells(
        games="Pong",
        datasets={"played": played, "random": {}},
        agents={"random": {"features": "random", "dataset": "random"}},
        pretrainings={},
        probes={},
    )
    assert list(cells) == [f"Pong/3/{x}" for x in ("data/random", "evaluate/random", "data/played")]
    assert cells["Pong/3/data/played"].needs == ("Pong/3/evaluate/random",)
    assert "--policy=w/Pong/3/evaluate/random" in cells["Pong/3/data/played"].command
    assert "--dataset=w/Pong/3/data/random" in cells["Pong/3/evaluate/random"].command


def test_a_probe_of_what_an_agent_learned_waits_for_it() -> None:
    cells = _cells(
        games="Pong",
        agents={
            "dqn": {
                "features": "random",
                "config": "configs/evaluate_end_to_end.py",
                "vary": {"n_step": (1, 3)},
            },
            "frozen": {
                "features": "random",
                "config": "configs/evaluate_end_to_end.py",
                "overrides": {"dqn": {"encoder_learning_rate": 0}},
            },
        },
        probes={"value": {"agents": "agent:dqn,frozen", "dataset": "random"}},
    )
    home = "w/Pong/3"
    probes = [cell for cell in cells.values() if cell.command[0] == "pvn.probe"]
    assert [cell.name for cell in probes] == [
        "Pong/3/probe/value-dqn_features-n_step=1",
        "Pong/3/probe/value-dqn_features-n_step=3",
        "Pong/3/probe/value-frozen",
    ]
    assert probes[1]._replace(inputs="") == Cell(
        probes[1].name,
        ("pvn.probe", f"--features={home}/evaluate/dqn-n_step=3/policy")
        # pvn.evaluate --agent=dqn-n_step=3 saves features of this name.
        + ("--agent=dqn-n_step=3_features", f"--dataset={home}/data/random", "--seed=3")
        + (f"--workdir=w/{probes[1].name}",),
        ("Pong/3/evaluate/dqn-n_step=3", "Pong/3/data/random"),
        f"w/{probes[1].name}",
    )
    assert "--features=random" in probes[2].command


def test_what_an_agent_played_is_the_dataset_of_a_pretraining() -> None:
    cells = _cells(
        games="Pong",
        datasets={},
        pretrainings={"pvn": {"dataset": "{agent:dqn}/data"}},
        agents={
            "pvn": {"features": "pvn"},
            "dqn": {
                "features": "random",
                "flags": {"save_dataset": "{workdir}/data"},
                "vary": {"n_step": (1, 3)},
            },
        },
        probes={},
    )
    names = [f"Pong/3/{kind}-n_step=" for kind in ("evaluate/dqn", "pretrain/pvn", "evaluate/pvn")]
    assert list(cells) == [f"{name}{n}" for name in names for n in (1, 3)]
    played, learned = (cells[f"{name}3"] for name in names[:2])
    assert f"--save_dataset=w/{played.name}/data" in played.command
    assert learned.needs == (played.name,)
    assert f"--config.dataset=w/{played.name}/data" in learned.command
    assert [len(stage) for stage in stages([*cells.values()])] == [2, 2, 2]


def test_a_pretraining_on_several_datasets() -> None:
    cells = _cells(
        games="Pong",
        datasets={"random": {}, "mixed": {}},
        pretrainings={"pvn": {"dataset": "random,mixed"}},
        agents={"pvn": {"features": "pvn"}},
        probes={},
    )
    learned = cells["Pong/3/pretrain/pvn"]
    assert "--config.dataset=w/Pong/3/data/random,w/Pong/3/data/mixed" in learned.command
    assert learned.needs == ("Pong/3/data/random", "Pong/3/data/mixed")


def test_tuples_in_flags_are_joined() -> None:
    dataset = {"flags": {"a": ("x", "{game}"), "b": [1]}, "vary": {"c": (("y", "z"), ["w"])}}
    first, second = _cells(
        games="Pong", datasets={"random": dataset}, pretrainings={}, agents={}, probes={}
    ).values()
    assert {"--a=x,Pong", "--b=1", "--c=y,z"} < {*first.command}
    assert "--c=w" in second.command


@pytest.mark.parametrize(
    ("name", "size", "number"),
    [
        ("quickstart", "2 of MinAtar x 3", None),
        ("minatar", "5 of MinAtar x 10", 5 * 10 * (2 + 6 + 8 * 2)),
        ("minatar_ablation", "5 of MinAtar x 10", 5 * 10 * (2 + 16 + 16 * 2)),
        ("minatar_scaling", "5 of MinAtar x 10", 5 * 10 * (2 + 3 * (4 + 1) + 3 * (4 + 1) * 2)),
        ("atari", "6 x 3", 6 * 3 * (6 + 1 + 3 * 2)),
        ("atari_development", "2 x 3", None),
        ("small", "10 x 3", 10 * 3 * 7),
        ("published", "60 x 5", 3_000),
    ],
)
def test_shipped_configs(name: str, size: str, number: int | None) -> None:
    """number: of the cells, as docs/suite.md states it."""
    plan = read_plan(importlib.import_module(f"configs.suite_{name}").get_config().to_dict())
    cells = expand(plan, "w")
    games, seeds = size.replace(" of MinAtar", "").split(" x ")
    assert (len(plan.games), len(plan.seeds)) == (int(games), int(seeds))
    (row,) = (row for row in TABLE if f"suite_{name}.py`" in row)
    assert f"| {size}{f', {number:,} cells' if number else ''} |" in row
    assert number in (None, len(cells))
    for cell in cells:
        for word in cell.command:
            if word.startswith("--config="):
                assert (ROOT / word.partition("=")[2]).is_file()


def test_every_suite_is_in_the_table() -> None:
    for path in (ROOT / "configs").glob("suite_*.py"):
        assert any(f"{path.name}`" in row for row in TABLE), path.name
