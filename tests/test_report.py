import csv
import io
import re
from html.parser import HTMLParser

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from pvn.errors import UserError
from pvn.report import report
from pvn.statistics.charts import game_charts
from pvn.statistics.curves import Curve
from pvn.statistics.figures import png
from pvn.statistics.page import Table, to_markdown
from tests.statistics.rows import probe_row, row, suite, write


def test_command_end_to_end(run, tmp_path):
    train = [
        row(-20.0 + i, phase="train", agent_step=900 * (i + 1), agent=agent)
        for agent in ("pvn", "random_features")
        for i in range(20)
    ]
    inputs = [
        write(tmp_path / "eval", [*train, row(0.0), row(2.0), row(-9.0, agent="random_features")]),
        write(tmp_path / "eval_random", [row(-20.7, agent="random_policy", head="none")]),
        write(
            tmp_path / "probe", probes=[probe_row(0.5), probe_row(0.25, agent="random_features")]
        ),
    ]
    workdir = tmp_path / "deep" / "report"
    done = run("pvn.report", f"--inputs={','.join(inputs)}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [re.split(r" *\| *", line)[1:-1] for line in lines[:-2]] == [
        ["Game", "Agent", "Head", "Value-probe R² (discount 0.99)", "Episode return"]
        + ["Human-normalised", "Agent steps", "Episodes", "Seeds"],
        ["-" * 4, "-" * 23, "-" * 4, "-" * 29 + ":", "-" * 13 + ":"]
        + ["-" * 15 + ":", "-" * 10 + ":", "-" * 7 + ":", "-" * 4 + ":"],
        # (1 + 20.7) / (14.6 + 20.7). The resampled means of two episodes are 0, 1, 1 or 2.
        ["Pong", "PVN features", "dqn", "0.500 [0.375, 0.625]", "1.0 [0.0, 2.0]"]
        + ["0.615", "1,000", "2", "1"],
        ["Pong", "random-network features", "dqn", "0.250 [0.125, 0.375]", "-9.0"]
        + ["0.331", "1,000", "1", "1"],
        ["Pong", "random policy", "none", "-", "-20.7", "0.000", "1,000", "1", "1"],
    ]  # fmt: skip
    assert lines[-2:] == [str(workdir / "report.md"), str(workdir / "report.html")]

    names = ["curves.csv", "learning_curves_Pong.png", "report.html", "report.md", "scores.csv"]
    assert sorted(path.name for path in workdir.iterdir()) == [*names, "sources.csv"]
    markdown = (workdir / "report.md").read_text()
    assert "![Pong](learning_curves_Pong.png)" in markdown
    assert all(f"- `{name}`" in markdown for name in inputs)

    with (workdir / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table[0] == {
        "game": "Pong", "agent": "pvn", "head": "dqn",
        "value_r2_0.99": "0.5", "value_r2_0.99_low": "0.375", "value_r2_0.99_high": "0.625",
        "episode_return": "1.0", "episode_return_low": "0.0", "episode_return_high": "2.0",
        "episodes": "2", "seeds": "1", "human_normalised": str((1 + 20.7) / (14.6 + 20.7)),
        "agent_step_min": "1000", "agent_step_max": "1000",
    }  # fmt: skip
    assert [each["agent"] for each in table] == ["pvn", "random_features", "random_policy"]
    assert table[2]["value_r2_0.99"] == table[2]["episode_return_low"] == ""

    page = Page((workdir / "report.html").read_text())
    assert (workdir / "learning_curves_Pong.png").read_bytes().startswith(b"\x89PNG")
    assert not {"img", "link", "iframe"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert "0.500 [0.375, 0.625]" in page.text
    assert "30 no-op starts and without sticky actions" in page.text
    assert all(name in page.text for name in inputs)


class Page(HTMLParser):
    """Collects the content of a page, and checks that every tag is closed in order."""

    def __init__(self, source):
        super().__init__()
        self.text, self.links, self.tags, self.open = "", [], [], []
        self.anchors = []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        fields = dict(attrs)
        self.anchors += [fields["id"]] if "id" in fields else []
        self.links += [fields[name] for name in ("href", "src", "srcset") if name in fields]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_command_says_what_is_wrong_in_one_line(run):
    done = run("pvn.report", "--inputs=none", "--workdir=w")
    line = "error: input none: no such directory\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_same_inputs_same_report(tmp_path):
    data = write(
        tmp_path / "in", [row(float(i), phase=p) for i in range(9) for p in ("train", "eval")]
    )
    for name in ("a", "b"):
        report([data], tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_earlier_report_is_replaced_whole(tmp_path):
    one = write(tmp_path / "one", [row(1.0)])
    two = suite(tmp_path / "two")
    report([two], tmp_path / "out")
    (tmp_path / "out" / "mine.png").touch()
    report([one], tmp_path / "out")
    report([one], tmp_path / "alone")
    names = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"mine.png"}


def test_no_picture_without_training_episodes(tmp_path):
    report([write(tmp_path / "in", [row(1.0)])], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "leeoniya" not in page  # a page without charts does not hold the library for them


def test_names_are_escaped(tmp_path):
    agent = '<script>alert("x")</script> & a|b\\ *$c*'
    rows = [row(1.0, agent=agent, phase=phase) for phase in ("train", "eval")]
    data = write(tmp_path / "<i>in", rows)
    tables = report([data], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert agent in page.text
    assert data in page.text
    assert "i" not in page.tags
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text()
    assert '&lt;script&gt;alert("x")&lt;/script&gt; &amp; a\\|b\\\\ \\*$c\\*' in tables
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 2


@pytest.fixture(scope="module")
def suite_report(tmp_path_factory):
    """The folder of the report of `suite`, and the tables."""
    folder = tmp_path_factory.mktemp("suite")
    tables = report([suite(folder / "in")], folder / "out")
    return folder / "out", tables


def test_a_suite_has_every_section(suite_report):
    folder, tables = suite_report
    markdown, page = ((folder / f"report.{end}").read_text() for end in ("md", "html"))
    headings = re.findall(r"^## (.*)$", markdown, re.M)
    assert headings == re.findall(r"<h2 id=[^>]*>([^<]*)</h2>", page)
    assert headings == [
        *("Results", "Over games", "Performance profiles", "Probability of improvement"),
        *("Sample efficiency over games", "Learning curves", "Beside published returns"),
        *("Label-efficiency curves", "Probes beside scores", "What the columns mean"),
        *("Rows behind the numbers", "Inputs"),
    ]
    # Scores at 300,000 steps: 0.7 / 35.3 and 9.7 / 35.3 in Pong, 0.3 / 28.8 and 5.3 / 28.8 in
    # Breakout. The middle two are 0.7 / 35.3 and 5.3 / 28.8.
    line = next(line for line in tables.splitlines() if "random-network" in line and "| 4 |" in
                re.sub(" +", " ", line))  # fmt: skip
    assert re.split(r" *\| *", line)[3].startswith("0.102 [")
    pictures = re.findall(r"!\[.*\]\((.*)\)", markdown)
    assert sorted(pictures) == sorted(path.name for path in folder.glob("*.png"))
    assert len(pictures) == 8
    for name in ("aggregates", "improvements", "published", "correlations", "curves", "sources"):
        with (folder / f"{name}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) >= 1


def test_every_row_of_a_table_leads_to_its_source(suite_report):
    folder, _ = suite_report
    page = Page((folder / "report.html").read_text())
    assert len(page.anchors) == len(set(page.anchors))
    assert {link[1:] for link in page.links} <= set(page.anchors)
    markdown = (folder / "report.md").read_text()
    anchors = re.findall(r'<a id="([^"]*)">', markdown)
    links = re.findall(r"\]\(#(rows-[^)]*)\)", markdown)
    assert set(links) == set(anchors)
    # Six results, three aggregates, two for each of three pairs, six windows.
    assert len(links) == 6 + 3 + 2 * 3 + 6
    (start,) = (
        i for i, line in enumerate(markdown.splitlines()) if "rows-1-1" in line and "<a" in line
    )
    lines = [line.strip() for line in markdown.splitlines()[start : start + 4]]
    assert lines[0] == '- <a id="rows-1-1"></a>**Breakout**'
    assert re.fullmatch(r"- probe value r2, seed 0, 1 row: `.*/in/probes\.jsonl:3`", lines[1])
    assert re.fullmatch(r"- eval at 1,000 agent steps, seed 0, 1 row: `.*:29`", lines[3])


def test_workdir_that_is_a_file(tmp_path):
    data = write(tmp_path / "in", [row(1.0)])
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError) as caught:
        report([data], f"{tmp_path}/out")
    assert str(caught.value) == (
        f"--workdir={tmp_path}/out: {tmp_path}/out is a file, expected a directory"
    )


def test_a_file_that_cannot_be_replaced_leaves_nothing_half_done(tmp_path):
    data = write(tmp_path / "in", [row(1.0)])
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"report\.html"):
        report([data], f"{tmp_path}/out")
    assert not list((tmp_path / "out").glob("*.partial"))


def test_every_probe_has_a_column(tmp_path):
    settings = {"max_rows": 100, "code": {"own.py": "ab"}}
    probes = [
        probe_row(0.5),
        probe_row(0.25, settings={"discount": 0.99, "clip_rewards": False}),
        probe_row(0.75, settings={"discount": 0.9, "clip_rewards": True}),
        probe_row(0.875, target="lives", metric="accuracy", settings=settings),
        probe_row(0.125, agent="other", target="lives", metric="accuracy", settings=settings),
    ]
    tables = report([write(tmp_path / "in", probes=probes)], tmp_path / "out")
    header, _, *lines = (re.split(r" *\| *", line)[1:-1] for line in tables.splitlines())
    assert header[3:-5] == [
        "Lives-probe accuracy",
        "Value-probe R² (clip_rewards False, discount 0.99)",
        "Value-probe R² (clip_rewards True, discount 0.9)",
        "Value-probe R² (clip_rewards True, discount 0.99)",
    ]
    assert [line[1:2] + [cell[:5] for cell in line[3:-5]] for line in lines] == [
        ["PVN features", "0.875", "0.250", "0.750", "0.500"],
        ["other", "0.125", "-", "-", "-"],
    ]
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table[0]["value_r2_clip_rewards_False_0.99"] == "0.25"
    assert table[0]["value_r2_clip_rewards_True_0.9"] == "0.75"
    assert table[1]["lives_accuracy_high"] == "0.25"
    text = (tmp_path / "out" / "report.md").read_text()
    assert "- **Value-probe R²**: The share of the variance of the discounted return that" in text
    assert "- **Lives-probe accuracy**: accuracy of a probe that predicts the target lives" in text


def test_a_target_with_the_name_of_one_of_ours_has_its_own_column(tmp_path):
    ours, own = {"discount": 0.99}, {"discount": 0.99, "code": {"own.py": "ab"}}
    probes = [probe_row(0.5, settings=ours), probe_row(0.25, target="Value", settings=own)]
    tables = report([write(tmp_path / "in", probes=probes)], tmp_path / "out")
    header = re.split(r" *\| *", tables.splitlines()[0])[4:6]
    assert re.fullmatch(r"Value-probe R² \(code [0-9a-f]{8}, discount 0\.99\)", header[0])
    assert header[1] == "Value-probe R² (discount 0.99)"
    text = (tmp_path / "out" / "report.md").read_text()
    assert "variance of the target Value that a" in text
    assert "variance of the discounted return that a" in text


def test_probes_that_cannot_be_compared_cannot_be_missed(tmp_path):
    other = probe_row(0.25, agent="a|b", dataset={"path": "data/two", "fingerprint": "dc"})
    shown = report([write(tmp_path / "in", probes=[probe_row(0.5), other])], tmp_path / "out")
    line = "R² (discount 0.99), Pong, seed 0: dataset data/pong cd (PVN features), dataset data/two"
    assert "\n\nWarning: do not compare the probes below." in shown
    assert f"Warning: Value-probe {line} dc (a|b)" in shown
    assert "> **Warning:** do not" in (tmp_path / "out" / "report.md").read_text()
    assert '<p class="warning">Value-probe' in (tmp_path / "out" / "report.html").read_text()


def test_every_curve_has_its_entry_in_the_legend(monkeypatch):
    # Matplotlib hides lines whose label begins with an underscore.
    drawn = []
    save = matplotlib.figure.Figure.savefig

    def look(figure, *arguments, **options):
        drawn.extend(text.get_text() for text in figure.axes[0].get_legend().get_texts())
        save(figure, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", look)
    points = np.arange(3.0)
    curves = [
        Curve("Pong", agent, "dqn", points, points, points, points)
        for agent in ("_mine", "pvn", "__", "a$b")
    ]
    styles = {curve[1:3]: i for i, curve in enumerate(curves)}
    (chart,) = game_charts(curves, styles, "learning_curves", "return")
    picture = png(chart)
    assert drawn == ["_mine, dqn", "PVN features, dqn", "__, dqn", r"a\$b, dqn"]
    assert Image.open(io.BytesIO(picture)).size == (1200, 675)


def test_markdown_by_hand():
    table = Table(["name", "n"], [["a", "1"], ["long name", "22.5"]], 1)
    assert to_markdown(table) == (
        "| name      |    n |\n| --------- | ---: |\n| a         |    1 |\n| long name | 22.5 |"
    )
