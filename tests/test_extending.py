"""Runs the examples of docs/extending.md with the commands of the page."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from pvn.data.store import open_dataset
from pvn.envs.policies import load_own_policy
from pvn.errors import UserError
from pvn.features import load_features
from pvn.indicators.registry import find_family, make_indicator
from pvn.networks.encoders import make_encoder
from pvn.plugins import load_plugin
from pvn.probes.target import load_target, targets_of
from tests.datasets import as_dataset
from tests.observations import EXAMPLE

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()

# Appended to the page's commands. The last value of a flag is used.
TINY = {
    "pvn.pretrain": [
        "--config.num_steps=20",
        "--config.num_features=16",
        "--config.num_tasks=6",
        "--config.batch_size=8",
        "--config.log_every=10",
    ],
    "pvn.collect": ["--num_steps=400", "--num_envs=4"],
    "pvn.probe": ["--max_rows=1000"],
}

KINDS = {
    "encoder": "An encoder",
    "indicator": "A family of auxiliary tasks",
    "policy": "A policy",
    "target": "A target of probes",
}


class Example:
    """Writes the files of a section of the page into `folder`. Returns the section's command."""

    def __init__(self, kind: str, folder: Path, dataset: Path):
        sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
        assert list(sections) == list(KINDS.values())
        text = sections[KINDS[kind]]
        for name, code in re.findall(r"^```python\n# (\S+)\n(.*?)^```", text, re.M | re.S):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(code)
        (line,) = re.findall(r"^```sh\npython -m (.*?)^```", text, re.M | re.S)
        self.module, *words = shlex.split(line.replace("\\\n", " "))
        self.folder = folder
        self.arguments = [self._place(word, dataset) for word in words] + TINY[self.module]
        (name,) = re.findall(rf"\b(own/{kind}\.py:\w+)", line)
        self.name, self.file = f"{folder}/{name}", folder / name.partition(":")[0]

    def _place(self, word: str, dataset: Path) -> str:
        flag, _, value = word.partition("=")
        if value == "data/breakout":
            return f"{flag}={dataset}"
        return f"{flag}={self.folder}/{value}" if re.match("(own|data|runs)/", value) else word


@pytest.fixture
def make(tmp_path: Path, dataset: Path) -> Callable[[str], Example]:
    return lambda kind: Example(kind, tmp_path, dataset)


def test_own_encoder(make, run, tmp_path):
    example = make("encoder")
    done = run(example.module, *example.arguments)
    assert done.returncode == 0, done.stderr
    features = load_features(tmp_path / "runs" / "own_encoder")
    assert features.metadata["encoder"] == "encoder/encoder.py:Small"
    assert features.metadata["step"] == 20
    # Every fourth of 84 pixels, then stride 2: 11 by 11 by 16 channels.
    assert features.params["Dense_0"]["kernel"].shape == (11 * 11 * 16, 16)

    # An encoder whose files moved is the same encoder.
    (tmp_path / "own").rename(tmp_path / "moved")
    more = [x.replace("/own/", "/moved/") for x in example.arguments] + ["--config.num_steps=30"]
    again = run(example.module, *more)
    assert again.returncode == 0, again.stderr
    assert load_features(tmp_path / "runs" / "own_encoder").metadata["step"] == 30
    (tmp_path / "moved").rename(tmp_path / "own")

    # A neighbour changes between the start and the resumption of a run.
    layers = tmp_path / "own" / "layers.py"
    layers.write_text(layers.read_text().replace("/ 255", "/ 256"))
    again = run(example.module, *example.arguments)
    assert again.returncode == 1
    (line,) = again.stderr.splitlines()
    assert line.startswith("error: ")
    assert "encoder" in line


def test_own_indicator(make, run, tmp_path):
    example = make("indicator")
    done = run(example.module, *example.arguments)
    assert done.returncode == 0, done.stderr
    workdir = tmp_path / "runs" / "own_indicator"
    assert load_features(workdir).metadata["pretraining"]["BrightPatches"] == {
        "side": 12, "proportion": 0.05
    }  # fmt: skip
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 20


def changed_indicator(make, old, new):
    """(name, the page's family as a class), with a piece of its code replaced."""
    example = make("indicator")
    code = example.file.read_text()
    assert code.count(old) == 1
    example.file.write_text(code.replace(old, new))
    return example.name, find_family(example.name)[1]


CUMULANT = "(responses > threshold[None]).astype(jnp.float32)"
CORNERS = "return jax.vmap(brightness, out_axes=1)(corners)"


def test_own_cumulants_may_be_booleans(make):
    name, family = changed_indicator(make, CUMULANT, "responses > threshold[None]")
    rows = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    given = make_indicator(name, family(), 3).cumulant(np.array([3, 3, 3], np.float32), rows)
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, [[0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            CUMULANT,
            f"{CUMULANT}.mean(1)",
            "cumulant gave an array [2], expected [2, 3] (states, tasks)",
        ),
        (
            CORNERS,
            f"{CORNERS}[:, :1]",
            "response gave an array [2, 1], expected [2, 3] (states, tasks)",
        ),
        ("return corners, ", "return ", "init gave no pair, expected (frozen, fitted)"),
        (
            "fit, binary=True",
            "fit, lambda fitted, response: response.sum(1)",
            "loss gave an array [2], expected a scalar",
        ),
    ],
)
def test_own_functions_that_return_something_else_are_one_line(make, old, new, text):
    name, family = changed_indicator(make, old, new)
    indicator = make_indicator(name, family(), 3)
    observation = np.zeros((2, 84, 84, 4), np.uint8)
    with pytest.raises(UserError, match="^" + re.escape(f"indicator {name}: {text}")):
        frozen, fitted = indicator.init(jax.random.key(0), observation[:1])
        response = jax.jit(indicator.response)(frozen, observation)
        jax.jit(indicator.cumulant)(fitted, response)
        jax.jit(indicator.loss)(fitted, response)


def test_own_responses_are_checked_before_anything_is_written(make, run, tmp_path):
    example = make("indicator")
    code = example.file.read_text()
    example.file.write_text(code.replace(CORNERS, f"{CORNERS}[:, :1]"))
    done = run(example.module, *example.arguments)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: indicator {example.name}: response gave an array [1, 1], expected [1, 6] (states, "
        "tasks)\n",
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ("side: int = 12", ": TypeError: BrightPatches.side: expected Annotated[type, Field]"),
        ("side: Annotated[int, whole(1, 84)]", ": its setting side has no default"),
    ],
)
def test_own_settings_that_are_not_declared_are_one_line(make, new, text):
    with pytest.raises(UserError, match=re.escape(text)):
        changed_indicator(make, "side: Annotated[int, whole(1, 84)] = 12", new)


def test_own_policy(make, run, tmp_path):
    example = make("policy")
    done = run(example.module, *example.arguments)
    assert done.returncode == 0, done.stderr
    rows = open_dataset(str(tmp_path / "data" / "follow_ball")).rows
    # The policy depends only on the newest frame.
    frames = np.asarray(rows.frame[:])
    expected = load_plugin("policy", example.name)(np.repeat(frames[..., None], 4, axis=-1))
    np.testing.assert_array_equal(expected, rows.action)
    assert len(np.unique(expected)) == 4


def test_own_target(make, run, tmp_path):
    example = make("target")
    done = run(example.module, *example.arguments)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "runs" / "probes" / "probes.jsonl").read_text().splitlines()
    rows = [row for line in lines if (row := json.loads(line))["target"] == "RewardSoon"]
    assert [row["metric"] for row in rows] == ["f1", "average_precision"]
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)
    assert rows[0]["settings"]["horizon"] == 20


def test_the_target_by_hand(make, tmp_path):
    from pvn.data.layout import Rows

    make_target = load_plugin("target", make("target").name)
    reward = np.array([0, 0, 1, 0, 0, 0, 0, 2], np.float32)
    flags = np.zeros(8, bool)
    rows = Rows(
        frame=None, action=np.zeros(8, np.int32), reward=reward, terminal=np.arange(8) == 4,
        truncated=flags, cut_start=flags, episode=np.array([0, 0, 0, 0, 0, 1, 1, 1], np.int32),
    )  # fmt: skip
    soon, known = make_target(horizon=2).targets(as_dataset(rows), tmp_path)
    assert soon.tolist() == [0, 1, 1, 0, 0, 0, 1, 1]
    assert known.tolist() == [True] * 8
    still = as_dataset(rows._replace(reward=0 * reward))
    soon, known = make_target(horizon=4).targets(still, tmp_path)
    assert not soon.any()
    # Row 4 ends the first episode. The second is truncated, and no row has four rewards after it.
    assert known.tolist() == [True] * 5 + [False] * 3


def use(kind, example, dataset):
    """What the commands do first with a person's own thing."""
    if kind == "encoder":
        make_encoder(example.name, width=1, num_features=16)
    elif kind == "indicator":
        _, family = find_family(example.name)
        make_indicator(example.name, family(), 3).init(jax.random.key(0), EXAMPLE)
    elif kind == "policy":
        load_own_policy(example.name, 4, (2, 84, 84, 4))
    else:
        targets_of(load_target(example.name, {}), open_dataset(str(dataset)), example.folder)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_on_the_page_can_be_used(make, dataset, kind):
    use(kind, make(kind), dataset)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_does_not_load_is_one_line(make, dataset, kind):
    example = make(kind)
    example.file.write_text("\nimport no_such_neighbour\n")
    with pytest.raises(UserError) as raised:
        use(kind, example, dataset)
    assert str(raised.value) == (
        f"{kind} {example.name}: {kind}.py, line 2: ModuleNotFoundError: "
        "No module named 'no_such_neighbour'"
    )


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("encoder", "x = nn.Conv("),
        ("indicator", "corners = jax.random"),
        ("policy", "newest = "),
        ("target", "rows = dataset.rows"),
    ],
)
def test_a_plugin_that_raises_when_it_is_called_is_one_line(make, dataset, kind, line):
    example = make(kind)
    before, after = example.file.read_text().split(line)
    example.file.write_text(f"{before}1 / 0; {line}{after}")
    number = before.count("\n") + 1
    with pytest.raises(UserError) as raised:
        use(kind, example, dataset)
    assert str(raised.value) == (
        f"{kind} {example.name}: {kind}.py, line {number}: ZeroDivisionError: division by zero"
    )


def test_the_commands_say_it_in_one_line(make, run):
    example = make("policy")
    example.file.write_text("\nimport no_such_neighbour\n")
    done = run(example.module, *example.arguments)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: policy {example.name}: policy.py, line 2: ModuleNotFoundError: "
        "No module named 'no_such_neighbour'\n",
    )
