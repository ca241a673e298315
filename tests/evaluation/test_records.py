import json

import pytest

from pvn.errors import UserError
from pvn.evaluation.records import (
    EpisodeRow,
    ProbeRow,
    append,
    parse_episode,
    parse_probe,
    put_probes,
    read_rows,
    to_json,
)
from pvn.storage.files import LineWriter
from tests.statistics.rows import probe_row, row, without

EPISODE = EpisodeRow("Pong", "pvn", "dqn", 3, "train", 1000, -20.5, 900)
PROBE = ProbeRow(
    game="Pong",
    agent="pvn",
    seed=2,
    target="lives",
    settings={"max_rows": 100, "code": {"own.py": "ef"}},
    features={"path": "runs/pong", "sha256": "ab"},
    dataset={"path": "data/pong", "fingerprint": "cd"},
    metric="accuracy",
    value=0.5,
    low=0.25,
    high=0.75,
    details={"num_test_rows": 20, "step": None},
)


def test_an_episode_by_hand(tmp_path):
    file = tmp_path / "scores.jsonl"
    with LineWriter(file) as stream:
        append(stream, EPISODE)
        append(stream, EPISODE._replace(phase="eval"))
    lines = file.read_text().splitlines()
    assert lines[0] == (
        '{"game": "Pong", "agent": "pvn", "head": "dqn", "seed": 3, "phase": "train", '
        '"agent_step": 1000, "episode_return": -20.5, "length": 900}'
    )
    assert parse_episode(json.loads(lines[1])) == EPISODE._replace(phase="eval")


def test_a_probe_of_any_target():
    assert parse_probe(json.loads(to_json(PROBE))) == PROBE


def test_a_row_that_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(EPISODE._replace(episode_return=float("nan")))
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(PROBE._replace(details={"penalty": float("inf")}))


def test_unknown_fields_are_ignored():
    assert parse_episode(row(1, mood="good")) == parse_episode(row(1))
    assert parse_probe(probe_row(1, mood="good")) == parse_probe(probe_row(1))


def test_identity_is_all_that_the_result_depends_on():
    for same in (
        {"value": 0.1, "low": 0.0, "high": 0.2},
        {"details": {}},
        {"features": {"sha256": "ab", "path": "moved"}},
        {"dataset": {"fingerprint": "cd"}},
        {"settings": {"code": {"own.py": "ef"}, "max_rows": 100}},
    ):
        assert PROBE._replace(**same).identity == PROBE.identity
    others = [
        {"game": "Alien"},
        {"agent": "other"},
        {"seed": 3},
        {"target": "value"},
        {"metric": "f1"},
        {"settings": {"max_rows": 101, "code": {"own.py": "ef"}}},
        {"settings": {"max_rows": 100, "code": {"own.py": "fe"}}},
        {"features": {"path": "runs/pong", "sha256": "ba"}},
        {"dataset": {"path": "data/pong", "fingerprint": "dc"}},
    ]
    assert len({PROBE._replace(**each).identity for each in others} | {PROBE.identity}) == 10


def test_a_probe_made_again_replaces_its_row(tmp_path):
    file = tmp_path / "deep" / "probes.jsonl"
    other = PROBE._replace(features={"path": "runs/pong", "sha256": "ba"})
    put_probes(file, [PROBE])
    put_probes(file, [other])
    put_probes(file, [PROBE._replace(value=0.625)])
    assert file.read_text() == to_json(other) + "\n" + to_json(PROBE._replace(value=0.625)) + "\n"
    # The text of other rows does not change, even with unknown fields.
    kept = json.dumps(probe_row(0.5, mood="good"))
    file.write_text(kept)
    put_probes(file, [PROBE])
    assert file.read_text() == kept + "\n" + to_json(PROBE) + "\n"
    assert [path.name for path in file.parent.iterdir()] == ["probes.jsonl"]


def test_a_file_that_is_not_of_probes_is_left_alone(tmp_path):
    file = tmp_path / "probes.jsonl"
    file.write_text(to_json(PROBE) + "\nmine\n")
    with pytest.raises(UserError) as caught:
        put_probes(file, [PROBE])
    assert str(caught.value) == f"{file}:2: is not JSON"
    assert file.read_text() == to_json(PROBE) + "\nmine\n"
    file.write_text("")
    put_probes(file, [PROBE])
    assert file.read_text() == to_json(PROBE) + "\n"


def test_a_complete_last_line_needs_no_newline(tmp_path):
    file = tmp_path / "scores.jsonl"
    file.write_text(json.dumps(row(4.0)))
    assert list(read_rows(file, parse_episode)) == [(f"{file}:1", parse_episode(row(4.0)))]


def test_line_separators_within_a_name_end_no_line(tmp_path):
    file = tmp_path / "probes.jsonl"
    settings = {"words": "a\u2028b"}
    line = json.dumps(probe_row(0.5, settings=settings), ensure_ascii=False)
    file.write_text(f"{line}\n", encoding="utf-8")
    put_probes(file, [PROBE])
    assert [found.settings for _, found in read_rows(file, parse_probe)] == [
        settings,
        PROBE.settings,
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("return: 3", "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "is not a JSON object"),
        (without(row(1), "episode_return"), "lacks the field 'episode_return'"),
        (without(row(1), "agent"), "lacks the field 'agent'"),
        (without(row(1), "agent_step"), "lacks the field 'agent_step'"),
        (without(row(1), "head"), "lacks the field 'head'"),
        (row(float("nan")), "field 'episode_return' is NaN, expected a finite number"),
        (row(float("-inf")), "field 'episode_return' is -Infinity, expected a finite number"),
        (row("3"), "field 'episode_return' is \"3\", expected a finite number"),
        (row(True), "field 'episode_return' is true, expected a finite number"),
        (row(10**400), f"field 'episode_return' is 1{'0' * 39}..., expected a finite number"),
        (row(1, seed=-1), "field 'seed' is -1, expected an integer from 0"),
        (row(1, length=1.5), "field 'length' is 1.5, expected an integer from 0"),
        (row(1, phase="test"), "field 'phase' is \"test\", expected \"train\" or \"eval\""),
        (row(1, phase=["eval"]), "field 'phase' is [\"eval\"], expected \"train\" or \"eval\""),
        (row(1, game="../Pong"), "field 'game' is \"../Pong\", expected a game's name, as Pong"),
        (row(1, agent=None), "field 'agent' is null, expected a name"),
        (row(1, agent="a\nb"), "field 'agent' is \"a\\nb\", expected a name"),
        (row(1, agent=""), "field 'agent' is \"\", expected a name"),
    ],
)  # fmt: skip
def test_bad_score_line_is_named(tmp_path, line, text):
    file = tmp_path / "scores.jsonl"
    lines = [json.dumps(row(1.0)), line if isinstance(line, str) else json.dumps(line)]
    file.write_text("\n".join([*lines, json.dumps(row(2.0)), ""]))
    with pytest.raises(UserError) as caught:
        list(read_rows(file, parse_episode))
    assert str(caught.value) == f"{file}:2: {text}"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (without(probe_row(0.5), "target"), "lacks the field 'target'"),
        (without(probe_row(0.5), "low"), "lacks the field 'low'"),
        (without(probe_row(0.5), "metric"), "lacks the field 'metric'"),
        (probe_row(0.5) | {"value": None}, "field 'value' is null, expected a finite number"),
        (probe_row(0.5, settings=[1]), "field 'settings' is [1], expected an object"),
        (probe_row(0.5, features="runs/x"), "field 'features' is \"runs/x\", expected an object"),
        ({"targets": "ram", "accuracy": 0.7}, "lacks the field 'game'"),
    ],
)  # fmt: skip
def test_bad_probe_line_is_named(tmp_path, line, text):
    file = tmp_path / "probes.jsonl"
    file.write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError) as caught:
        list(read_rows(file, parse_probe))
    assert str(caught.value) == f"{file}:1: {text}"


def test_last_line_cut_off(tmp_path):
    line = json.dumps(row(1.0))
    file = tmp_path / "scores.jsonl"
    file.write_text(line + "\n" + line[:-20])
    with pytest.raises(UserError) as caught:
        list(read_rows(file, parse_episode))
    assert str(caught.value) == (
        f"{file}:2: the last line is cut off; is the run still writing, or was it killed?"
    )


def test_bytes_that_are_not_text(tmp_path):
    (tmp_path / "scores.jsonl").write_bytes(b'{"game": "\xff"}\n')
    with pytest.raises(UserError, match=r"scores\.jsonl:1: is not JSON$"):
        list(read_rows(tmp_path / "scores.jsonl", parse_episode))
