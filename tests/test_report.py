import base64
import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pvn.errors import UserError
from pvn.evaluation.summary import Episode, Probe, aggregate, learning_curves, load_rows, summarise
from pvn.report import Table, report, to_markdown

ROOT = Path(__file__).parents[1]


def row(score, **fields):
    base = {"game": "Pong", "method": "pvn", "head": "dqn", "seed": 0, "phase": "eval"}
    return base | {"agent_step": 1000, "return": score, "length": 900} | fields


def probe_row(r2, **fields):
    base = {"game": "Pong", "method": "pvn", "seed": 0, "targets": "value", "discount": 0.99}
    bounds = {"r2": r2, "r2_low": r2 - 0.125, "r2_high": r2 + 0.125}
    return base | bounds | {"penalty": 10.0, "num_features": 512, "note": "left alone"} | fields


def write(directory, scores=None, probes=None):
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in (("scores.jsonl", scores), ("probes.jsonl", probes)):
        if rows is not None:
            lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
            (directory / name).write_text("".join(f"{line}\n" for line in lines))
    return str(directory)


def episode(score, game="Pong", method="pvn", head="dqn", seed=0, phase="eval", step=0):
    return Episode(game, method, head, seed, phase, step, score, 100)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pvn.report", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


# The command.


def test_command_end_to_end(tmp_path):
    train = [
        row(-20.0 + i, phase="train", agent_step=900 * (i + 1), method=method)
        for method in ("pvn", "random_features")
        for i in range(20)
    ]
    inputs = [
        write(tmp_path / "eval", [*train, row(0.0), row(2.0), row(-9.0, method="random_features")]),
        write(tmp_path / "eval_random", [row(-20.7, method="random_policy", head="none")]),
        write(
            tmp_path / "probe", probes=[probe_row(0.5), probe_row(0.25, method="random_features")]
        ),
    ]
    workdir = tmp_path / "deep" / "report"
    done = run(f"--inputs={','.join(inputs)}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [re.split(r" *\| *", line)[1:-1] for line in lines[:-2]] == [
        ["Game", "Features", "Head", "Value-probe R² (discount 0.99)"]
        + ["Return", "Episodes", "Seeds", "Human-normalised"],
        ["-" * 4, "-" * 23, "-" * 4, "-" * 29 + ":", "-" * 13 + ":"]
        + ["-" * 7 + ":", "-" * 4 + ":", "-" * 15 + ":"],
        # (1 + 20.7) / (14.6 + 20.7); two episodes' resampled means are 0, 1, 1 or 2.
        ["Pong", "PVN features", "dqn", "0.500 [0.375, 0.625]", "1.0 [0.0, 2.0]", "2", "1"]
        + ["0.615"],
        ["Pong", "random-network features", "dqn", "0.250 [0.125, 0.375]", "-9.0", "1", "1"]
        + ["0.331"],
        ["Pong", "random policy", "none", "-", "-20.7", "1", "1", "0.000"],
    ]  # fmt: skip
    assert lines[-2:] == [str(workdir / "report.md"), str(workdir / "report.html")]

    names = ["learning_curves_Pong.png", "report.html", "report.md", "scores.csv"]
    assert sorted(path.name for path in workdir.iterdir()) == names
    markdown = (workdir / "report.md").read_text()
    assert "\n".join(lines[:-2]) in markdown
    assert "![Pong](learning_curves_Pong.png)" in markdown
    assert all(f"- `{name}`" in markdown for name in inputs)

    with (workdir / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table[0] == {
        "game": "Pong", "method": "pvn", "head": "dqn",
        "value_r2_0.99": "0.5", "value_r2_0.99_low": "0.375", "value_r2_0.99_high": "0.625",
        "return": "1.0", "return_low": "0.0", "return_high": "2.0",
        "episodes": "2", "seeds": "1", "human_normalised": str((1 + 20.7) / (14.6 + 20.7)),
    }  # fmt: skip
    assert [each["method"] for each in table] == ["pvn", "random_features", "random_policy"]
    assert table[2]["value_r2_0.99"] == table[2]["return_low"] == ""

    page = Page((workdir / "report.html").read_text())
    png = (workdir / "learning_curves_Pong.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert page.images == ["data:image/png;base64," + base64.b64encode(png).decode()]
    assert page.links == []
    assert "0.500 [0.375, 0.625]" in page.text
    assert "30 no-op starts and without sticky actions" in page.text
    assert all(name in page.text for name in inputs)


class Page(HTMLParser):
    """What a reader of the page gets; every tag must be closed in order."""

    def __init__(self, source):
        super().__init__()
        self.text, self.images, self.links, self.tags, self.open = "", [], [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        fields = dict(attrs)
        if tag == "img":
            self.images.append(fields["src"])
        self.links += [fields[name] for name in ("href", "srcset") if name in fields]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--inputs=none", "--workdir=w"], "error: input none: no such directory"),
        (["--inputs=", "--workdir=w"], "error: --inputs: is empty, expected a directory"),
        (["--inputs=x", "--workdir=w", "y"],
         "error: unexpected argument 'y'; flags are written --name=value"),
    ],
)  # fmt: skip
def test_command_says_what_is_wrong_in_one_line(arguments, line):
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line + "\n")


def test_same_inputs_same_report(tmp_path):
    data = write(
        tmp_path / "in", [row(float(i), phase=p) for i in range(9) for p in ("train", "eval")]
    )
    for name in ("a", "b"):
        report([data], tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_no_picture_without_training_episodes(tmp_path):
    report([write(tmp_path / "in", [row(1.0)])], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))
    assert "<img" not in (tmp_path / "out" / "report.html").read_text()


def test_names_are_escaped(tmp_path):
    method = '<script>alert("x")</script> & a|b\\ $c'
    rows = [row(1.0, method=method, phase=phase) for phase in ("train", "eval")]
    data = write(tmp_path / "<i>in", rows)
    tables = report([data], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert method in page.text
    assert data in page.text
    assert not {"script", "i"} & set(page.tags)
    assert '&lt;script&gt;alert("x")&lt;/script&gt; &amp; a\\|b\\\\ $c' in tables
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 2


def test_several_games_have_an_aggregate(tmp_path):
    data = write(
        tmp_path / "in",
        [row(s, game=g, seed=i) for g, s in (("Pong", 14.6), ("Breakout", 30.5)) for i in (0, 1)],
    )
    tables = report([data], tmp_path / "out")
    last = tables.splitlines()[-1]
    assert re.sub(" +", " ", last) == "| PVN features | dqn | 2 | 4 | 1.000 [1.000, 1.000] |"
    for name in ("report.md", "report.html"):
        assert "Over games" in (tmp_path / "out" / name).read_text()


def test_workdir_that_is_a_file(tmp_path):
    data = write(tmp_path / "in", [row(1.0)])
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match=r"--workdir .*out: File exists"):
        report([data], tmp_path / "out")


def test_a_file_that_cannot_be_replaced_leaves_nothing_half_done(tmp_path):
    data = write(tmp_path / "in", [row(1.0)])
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    with pytest.raises(UserError, match=r"report\.html: cannot be written \(Is a directory\)"):
        report([data], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.partial"))


def test_markdown_by_hand():
    table = Table(["name", "n"], [["a", "1"], ["long name", "22.5"]], 1)
    assert to_markdown(table) == (
        "| name      |    n |\n| --------- | ---: |\n| a         |    1 |\n| long name | 22.5 |"
    )


# Reading.


def test_load_rows(tmp_path):
    both = write(
        tmp_path / "both",
        [row(1, seed=3), row(2.5, phase="train", agent_step=7)],
        [probe_row(0.5, discount=0.9), {"targets": "ram", "accuracy": 0.7}],
    )
    empty = write(tmp_path / "empty", [], [])
    assert load_rows([both, empty]) == (
        [
            Episode("Pong", "pvn", "dqn", 3, "eval", 1000, 1.0, 900),
            Episode("Pong", "pvn", "dqn", 0, "train", 7, 2.5, 900),
        ],
        [Probe("Pong", "pvn", 0, 0.9, 0.5, 0.375, 0.625)],
    )


def test_a_complete_last_line_needs_no_newline(tmp_path):
    (tmp_path / "scores.jsonl").write_text(json.dumps(row(4.0)))
    assert load_rows([str(tmp_path)])[0][0].score == 4.0


def without(fields, name):
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("return: 3", "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "is not a JSON object"),
        (without(row(1), "return"), "lacks the field 'return'"),
        (without(row(1), "agent_step"), "lacks the field 'agent_step'"),
        (without(row(1), "head"), "lacks the field 'head'"),
        (row(float("nan")), "field 'return' is NaN, expected a finite number"),
        (row(float("-inf")), "field 'return' is -Infinity, expected a finite number"),
        (row("3"), "field 'return' is \"3\", expected a finite number"),
        (row(True), "field 'return' is true, expected a finite number"),
        (row(10**400), f"field 'return' is 1{'0' * 39}..., expected a finite number"),
        (row(1, seed=-1), "field 'seed' is -1, expected an integer from 0"),
        (row(1, length=1.5), "field 'length' is 1.5, expected an integer from 0"),
        (row(1, phase="test"), "field 'phase' is \"test\", expected \"train\" or \"eval\""),
        (row(1, phase=["eval"]), "field 'phase' is [\"eval\"], expected \"train\" or \"eval\""),
        (row(1, game="../Pong"), "field 'game' is \"../Pong\", expected a game's name, as Pong"),
        (row(1, method=None), "field 'method' is null, expected a name"),
        (row(1, method="a\nb"), "field 'method' is \"a\\nb\", expected a name"),
    ],
)  # fmt: skip
def test_bad_score_line_is_named(tmp_path, line, text):
    data = write(tmp_path / "in", [row(1.0), line, row(2.0)])
    with pytest.raises(UserError) as caught:
        load_rows([data])
    assert str(caught.value) == f"{data}/scores.jsonl:2: {text}"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (without(probe_row(0.5), "targets"), "lacks the field 'targets'"),
        (without(probe_row(0.5), "r2_low"), "lacks the field 'r2_low'"),
        (probe_row(0.5) | {"r2": None}, "field 'r2' is null, expected a finite number"),
    ],
)
def test_bad_probe_line_is_named(tmp_path, line, text):
    data = write(tmp_path / "in", probes=[line])
    with pytest.raises(UserError) as caught:
        load_rows([data])
    assert str(caught.value) == f"{data}/probes.jsonl:1: {text}"


def test_last_line_cut_off(tmp_path):
    line = json.dumps(row(1.0))
    (tmp_path / "scores.jsonl").write_text(line + "\n" + line[:-20])
    with pytest.raises(UserError) as caught:
        load_rows([str(tmp_path)])
    assert str(caught.value) == (
        f"{tmp_path}/scores.jsonl:2: the last line is cut off; is the run still writing, "
        "or was it killed?"
    )


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "scores.jsonl").write_bytes(b'{"game": "\xff"}\n')
    with pytest.raises(UserError, match=r"scores\.jsonl:1: is not JSON$"):
        load_rows([str(tmp_path)])


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
            f"nothing to report: no episode and no value probe in {tmp_path}/empty",
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
    third = write(tmp_path / "third", probes=[probe_row(0.5, discount=0.9), probe_row(0.6)])
    with pytest.raises(UserError) as caught:
        load_rows([first, third])
    assert str(caught.value) == (
        f"{third}/probes.jsonl:2: Pong, pvn, seed 0, discount 0.99 is at {first}/probes.jsonl:1 "
        "too; a probe counts once"
    )


# Summarising.


def test_seeds_weigh_the_same():
    played = [episode(0.0), episode(0.0), episode(0.0), episode(10.0, seed=1)]
    (result,) = summarise(played, [])
    # The mean of 0 and 10, not of four episodes; seeds drawn twice give 0, 5, 5 or 10.
    assert result.score == (5.0, (0.0, 10.0))
    assert (result.num_episodes, result.num_seeds) == (4, 2)


def test_one_episode_has_no_interval():
    (result,) = summarise([episode(3.0)], [])
    assert result.score == (3.0, None)


def test_training_episodes_are_no_scores():
    (result,) = summarise([episode(3.0, phase="train")], [])
    assert (result.score, result.num_episodes, result.normalised) == (None, 0, None)


def test_probes_join_every_head_of_their_features():
    probes = [
        Probe("Pong", "pvn", 0, 0.99, 0.5, 0.25, 0.75),
        Probe("Pong", "pvn", 1, 0.99, 0.75, 0.5, 0.875),
        Probe("Pong", "pvn", 0, 0.9, 0.125, 0.0, 0.25),
        Probe("Pong", "other", 0, 0.9, 0.5, 0.5, 0.5),
    ]
    results = summarise([episode(1.0, head=head) for head in ("fqi", "dqn")], probes)
    expected = {0.9: (0.125, (0.0, 0.25)), 0.99: (0.625, (0.25, 0.875))}
    assert [(r.method, r.head, r.r2) for r in results] == [
        ("pvn", "dqn", expected),
        ("pvn", "fqi", expected),
        ("other", "none", {0.9: (0.5, (0.5, 0.5))}),
    ]


def test_results_are_ordered_by_game_then_ours_then_baselines():
    methods = ["zeta", "random_policy", "alpha", "random_features", "pvn"]
    played = [episode(1.0, game, method) for method in methods for game in ("Pong", "Alien")]
    order = ["pvn", "random_features", "random_policy", "alpha", "zeta"]
    assert [(r.game, r.method) for r in summarise(played, [])] == [
        (game, method) for game in ("Alien", "Pong") for method in order
    ]


def test_aggregate_by_hand():
    # Human-normalised by design: Pong 0 and 1, Breakout 1 and 2. Four runs: without the ends, 1.
    played = [
        episode(-20.7),
        episode(14.6, seed=1),
        episode(1.7, "Breakout"),
        episode(59.3, "Breakout"),
        episode(59.3, "Breakout", seed=1),
        episode(7.0, "AirRaid"),  # has no reference
        episode(14.6, method="random_policy", head="none"),  # one game only
    ]
    (result,) = aggregate(played)
    assert (result.method, result.head, result.games) == ("pvn", "dqn", ("Breakout", "Pong"))
    assert result.num_runs == 4
    assert result.iqm.mean == pytest.approx(1.0)
    # Resampled: Pong {00, 01, 10, 11}, Breakout likewise; the inner two of four are all that count.
    assert result.iqm.interval == pytest.approx((0.5, 1.5))


def test_aggregate_of_single_runs_has_no_interval():
    (result,) = aggregate([episode(14.6), episode(30.5, "Breakout")])
    assert result.iqm == (1.0, None)


def test_learning_curve_by_hand():
    # Ten episodes make two bins of 500 steps; the last step belongs to the last bin.
    played = [episode(float(i), phase="train", step=100 * (i + 1)) for i in range(10)]
    (curve,) = learning_curves(played)
    # Steps 100..400 and 500..1000.
    np.testing.assert_allclose(curve.agent_step, [250, 750])
    np.testing.assert_allclose(curve.score, [1.5, 6.5])
    assert np.all((curve.low < curve.score) & (curve.score < curve.high))
    assert learning_curves(played, max_bins=1)[0].score == [4.5]


def test_learning_curve_of_few_episodes():
    (curve,) = learning_curves([episode(2.0, phase="train", step=0)])
    assert (curve.agent_step, curve.score) == ([0], [2])
    assert np.isnan([curve.low, curve.high]).all()
    assert learning_curves([episode(1.0)]) == []
