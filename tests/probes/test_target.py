import re

import numpy as np
import pytest

from pvn.errors import UserError
from pvn.probes.target import NamedTarget, load_target, targets_of
from pvn.probes.value import ValueTarget
from tests.datasets import as_dataset, make_rows

OWN = """
from typing import NamedTuple
import numpy as np

class Action(NamedTuple):
    which: int = 1
    discount: float = 0.5

    def targets(self, dataset, folder):
        return dataset.rows.action == self.which, dataset.rows.reward > 0

class Bare:
    def targets(self, dataset, folder):
        return dataset.rows.reward, np.ones(len(dataset.rows.reward), bool)

class Needs:
    def __init__(self, thing): ...

class Nothing: ...
"""


def test_the_value_takes_its_settings():
    named = load_target("value", {"discount": 0.5, "clip_rewards": False, "other": 1})
    assert named == NamedTarget(
        "value", ValueTarget(0.5, False), {"discount": 0.5, "clip_rewards": False}, "value"
    )
    assert load_target("value", {}).settings == {"discount": 0.99, "clip_rewards": True}


def test_a_users_own_target(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    rows = make_rows([3, 2], [0, 1, 0, 2, 3])
    rows.action[:] = [0, 1, 1, 2, 1]
    named = load_target(f"{file}:Action", {"discount": 0.25, "clip_rewards": True})
    code = named.settings.pop("code")
    assert (named.name, named.settings) == ("Action", {"which": 1, "discount": 0.25})
    outputs = targets_of(named, as_dataset(rows), tmp_path)
    assert outputs.names == ()
    assert outputs.values.tolist() == [[False], [True], [True], [False], [True]]
    assert outputs.known[:, 0].tolist() == [False, True, False, True, True]
    bare = load_target(f"{file}:Bare", {"discount": 0.25})
    assert bare.settings == {"code": code}
    outputs = targets_of(bare, as_dataset(rows), tmp_path)
    assert outputs.values[:, 0].tolist() == [0, 1, 0, 2, 3]
    # A changed file is a different target.
    file.write_text(OWN.replace("rows.reward > 0", "rows.reward > 1"))
    assert load_target(f"{file}:Action", {}).settings["code"] != code


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("valeu", "target 'valeu': expected one of value, reward, action, next_features, "),
        ("{}:Gone", "target {}:Gone: {} defines no 'Gone'"),
        ("{}:Needs", "target {}:Needs: TypeError: Needs.__init__() missing 1 required"),
        ("{}:Nothing", "target {}:Nothing: has no method targets(dataset, folder)"),
    ],
)
def test_objects_that_are_not_targets(tmp_path, name, text):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    with pytest.raises(UserError, match="^" + re.escape(text.replace("{}", str(file)))):
        load_target(name.format(file), {})


@pytest.mark.parametrize(
    ("targets", "known", "text"),
    [
        (np.zeros(4), np.ones(5, bool), "gave float64 [4] and bool [5], expected floats, bools or"),
        (np.zeros((5, 0)), np.ones(5, bool), "gave float64 [5, 0] and bool [5], expected"),
        (np.zeros((5, 2)), np.ones((5, 3), bool), "gave float64 [5, 2] and bool [5, 3], expected"),
        (np.zeros((5, 2, 1)), np.ones(5, bool), "gave float64 [5, 2, 1] and bool [5], expected"),
        ([1, 0, -1, 0, 0], np.ones(5, bool), "is a negative class at row 2"),
        (np.zeros(5), np.ones(5), "gave float64 [5] and float64 [5], expected"),
        (np.array(list("abcde")), np.ones(5, bool), "gave <U1 [5] and bool [5], expected"),
        ([0, 0, np.nan, 0, 0], [True, True, True, True, False], "is not finite at row 2"),
    ],
)
def test_bad_answers(targets, known, text, tmp_path):
    class Own:
        def targets(self, dataset, folder):
            return targets, known

    named = NamedTarget("Own", Own(), {}, "own.py:Own")
    with pytest.raises(UserError, match="^" + re.escape(f"target Own: {text}")):
        targets_of(named, as_dataset(make_rows([3, 2], np.zeros(5))), tmp_path)


def test_a_target_that_is_not_known_may_be_anything(tmp_path):
    class Own:
        def targets(self, dataset, folder):
            return np.array([1, np.nan, 2, 3, np.inf]), np.array([1, 0, 1, 1, 0], bool)

    named = NamedTarget("Own", Own(), {}, "own.py:Own")
    outputs = targets_of(named, as_dataset(make_rows([3, 2], np.zeros(5))), tmp_path)
    assert outputs.values[outputs.known].tolist() == [1, 2, 3]


def test_several_outputs_and_their_names(tmp_path):
    class Own:
        names = ("a", "b")

        def targets(self, dataset, folder):
            assert folder == tmp_path
            return np.arange(10).reshape(5, 2), np.arange(5) > 1

    dataset, own = as_dataset(make_rows([3, 2], np.zeros(5))), Own()
    named = NamedTarget("Own", own, {}, "own.py:Own")
    outputs = targets_of(named, dataset, tmp_path)
    assert outputs.names == ("a", "b")
    assert outputs.known.tolist() == [[False] * 2] * 2 + [[True] * 2] * 3
    own.names = lambda: ["x", "y"]
    assert targets_of(named, dataset, tmp_path).names == ("x", "y")
    own.names = ("a", "b", "c")
    with pytest.raises(UserError, match=r"^target Own: gave 3 names of 2 outputs$"):
        targets_of(named, dataset, tmp_path)
    own.names = ("a", "a")
    with pytest.raises(UserError, match=r"^target Own: two outputs have the name 'a'$"):
        targets_of(named, dataset, tmp_path)
    own.names = ()
    assert targets_of(named, dataset, tmp_path).names == ("0", "1")


def test_settings_as_text():
    named = load_target("value", {"discount": 0.5}, {"discount": "0.25", "clip_rewards": "false"})
    assert named.settings == {"discount": 0.25, "clip_rewards": False}
    assert load_target("action", {}, {"max_states": "12"}).target.max_states == 12
    for own, text in (
        ({"discount": "x"}, "--set=value.discount: 'x', expected a number in [0, 1)"),
        ({"discount": "1"}, "--set=value.discount: 1.0, expected a number in [0, 1)"),
        ({"clip_rewards": "1"}, "--set=value.clip_rewards: '1', expected True or False"),
        ({"x": "1"}, "--set=value.x: target value has the settings discount, clip_rewards"),
    ):
        with pytest.raises(UserError, match="^" + re.escape(text) + "$"):
            load_target("value", {}, own)
    with pytest.raises(UserError, match=r"^--set=reward\.x: target reward has no settings$"):
        load_target("reward", {}, {"x": "1"})
