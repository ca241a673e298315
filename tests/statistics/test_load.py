import pytest

from pvn.errors import UserError
from pvn.evaluation.records import EpisodeRow
from pvn.statistics.load import load_rows
from tests.statistics.rows import probe_row, row, write


def test_rows_of_several_directories(tmp_path):
    both = write(tmp_path / "both", [row(1, seed=3)], [probe_row(0.5)])
    more = write(tmp_path / "more", [row(2.5, phase="train", agent_step=7)])
    empty = write(tmp_path / "empty", [], [])
    episodes, probes, _ = load_rows([both, more, empty])
    assert episodes == [
        EpisodeRow("Pong", "pvn", "dqn", 3, "eval", 1000, 1.0, 900),
        EpisodeRow("Pong", "pvn", "dqn", 0, "train", 7, 2.5, 900),
    ]
    assert [probe.value for probe in probes] == [0.5]


def test_bad_directories(tmp_path):
    data = write(tmp_path / "in", [row(1.0)])
    (tmp_path / "folder" / "scores.jsonl").mkdir(parents=True)
    for inputs, text in [
        ([f"{tmp_path}/gone"], f"input {tmp_path}/gone: no such directory"),
        ([f"{data}/scores.jsonl"], f"input {data}/scores.jsonl: no such directory"),
        ([str(tmp_path)], f"input {tmp_path}: holds neither scores.jsonl nor probes.jsonl"),
        ([data, f"{data}/../in/"], f"input {data}/../in: is named twice"),
        ([f"{tmp_path}/folder"], f"{tmp_path}/folder/scores.jsonl: Is a directory"),
        (
            [write(tmp_path / "empty", [])],
            f"nothing to report: no episode and no probe in {tmp_path}/empty",
        ),
    ]:
        with pytest.raises(UserError) as caught:
            load_rows(inputs)
        assert str(caught.value) == text


def test_a_run_counts_once(tmp_path):
    first = write(tmp_path / "first", [row(1.0)], [probe_row(0.5)])
    second = write(tmp_path / "second", [row(9.0, phase="train"), row(2.0)])
    with pytest.raises(UserError) as caught:
        load_rows([first, second])
    assert str(caught.value) == (
        f"{second}/scores.jsonl:2: Pong, pvn, dqn, seed 0, phase eval is in {first}/scores.jsonl "
        "too; a run counts once"
    )
    again = write(tmp_path / "again", probes=[probe_row(0.5, discount=0.9), probe_row(0.6)])
    with pytest.raises(UserError) as caught:
        load_rows([first, again])
    assert str(caught.value) == (
        f"{again}/probes.jsonl:2: Pong, pvn, seed 0, value, discount 0.99, clip_rewards True, "
        f"max_rows 50000 is at {first}/probes.jsonl:1 too, with another value; remove one of the "
        "lines"
    )


def test_the_same_row_of_two_directories_counts_once(tmp_path):
    """Two runs of pvn.probe on the same features both write the diagnostics."""
    rank = probe_row(7.0, target="features", metric="srank", settings={"states": 100})
    moved = rank | {"features": {"path": "moved/pong", "sha256": "ab"}, "details": {}}
    first = write(tmp_path / "first", probes=[probe_row(0.5), rank])
    second = write(tmp_path / "second", probes=[moved, probe_row(0.6, target="reward")])
    found = load_rows([first, second])
    assert [(each.target, each.value) for each in found.probes] == [
        ("value", 0.5), ("features", 7.0), ("reward", 0.6)
    ]  # fmt: skip
    assert [source.file for source in found.sources if "srank" in source.group.what] == [
        f"{first}/probes.jsonl"
    ]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (probe_row(0.6, features={"path": "runs/pong", "sha256": "ba"}), "features"),
        (probe_row(0.6, dataset={"path": "data/two", "fingerprint": "dc"}), "dataset"),
        (
            probe_row(
                0.6,
                features={"sha256": "ba"},
                settings={"discount": 0.99, "clip_rewards": True, "max_rows": 100},
            ),
            "settings and features",
        ),
    ],
)
def test_two_probes_that_claim_one_cell(tmp_path, other, what):
    data = write(tmp_path / "in", probes=[probe_row(0.5), other])
    with pytest.raises(UserError) as caught:
        load_rows([data])
    assert str(caught.value) == (
        f"{data}/probes.jsonl:2: Pong, pvn, seed 0, value, discount 0.99, clip_rewards True, "
        f"max_rows {other['settings']['max_rows']} is at {data}/probes.jsonl:1 too, with other "
        f"{what}; give one of them another name with --agent, or remove its line"
    )


def test_probes_of_different_cells(tmp_path):
    probes = [
        probe_row(0.5),
        probe_row(0.5, seed=1),
        probe_row(0.5, agent="other"),
        probe_row(0.5, game="Alien"),
        probe_row(0.5, metric="f1"),
        probe_row(0.5, target="lives"),
        probe_row(0.5, discount=0.9),
    ]
    assert len(load_rows([write(tmp_path / "in", probes=probes)])[1]) == 7


def test_sources_name_the_files_and_lines(tmp_path):
    rows = [row(1.0), row(2.0, seed=1), row(3.0), row(4.0, phase="train"), row(5.0, agent_step=9)]
    folder = write(tmp_path / "in", rows, [probe_row(0.5), probe_row(0.6, agent="a")])
    found = load_rows([folder], names=["gs://b/in"]).sources
    assert [(*source.group[1:], source.text, source.num_rows) for source in found] == [
        ("a", "", "value r2", None, 0, "gs://b/in/probes.jsonl:2", 1),
        ("pvn", "", "value r2", None, 0, "gs://b/in/probes.jsonl:1", 1),
        ("pvn", "dqn", "eval", 9, 0, "gs://b/in/scores.jsonl:5", 1),
        ("pvn", "dqn", "eval", 1000, 0, "gs://b/in/scores.jsonl:1-3", 2),
        ("pvn", "dqn", "eval", 1000, 1, "gs://b/in/scores.jsonl:2", 1),
        ("pvn", "dqn", "train", None, 0, "gs://b/in/scores.jsonl:4", 1),
    ]
