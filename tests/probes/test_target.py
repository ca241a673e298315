import re

import numpy as np
import pytest

from pvn.errors import UserError
from pvn.probes.target import NamedTarget, load_target, targets_of
from pvn.probes.value import ValueTarget
from tests.probes.rows import make_rows

OWN = """
from typing import NamedTuple
import numpy as np

class Action(NamedTuple):
    which: int = 1
    discount: float = 0.5

    def targets(self, rows):
        return rows.action == self.which, rows.reward > 0

class Bare:
    def targets(self, rows):
        return rows.reward, np.ones(len(rows.reward), bool)

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
    targets, known = targets_of(named, rows)
    assert targets.dtype == np.float32
    assert targets.tolist() == [0, 1, 1, 0, 1]
    assert known.tolist() == [False, True, False, True, True]
    bare = load_target(f"{file}:Bare", {"discount": 0.25})
    assert bare.settings == {"code": code}
    assert targets_of(bare, rows)[0].tolist() == [0, 1, 0, 2, 3]
    # A changed file is a different target.
    file.write_text(OWN.replace("rows.reward > 0", "rows.reward > 1"))
    assert load_target(f"{file}:Action", {}).settings["code"] != code


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("valeu", "target 'valeu': expected one of value, `path/to/file.py:Name` or"),
        ("{}:Gone", "target {}:Gone: {} defines no 'Gone'"),
        ("{}:Needs", "target {}:Needs: TypeError: Needs.__init__() missing 1 required"),
        ("{}:Nothing", "target {}:Nothing: has no method targets(rows)"),
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
        (np.zeros(4), np.ones(5, bool), "gave float64 [4] and bool [5], expected real numbers"),
        (np.zeros((5, 1)), np.ones(5, bool), "gave float64 [5, 1] and bool [5], expected"),
        (np.zeros(5), np.ones(5), "gave float64 [5] and float64 [5], expected"),
        (np.array(list("abcde")), np.ones(5, bool), "gave <U1 [5] and bool [5], expected"),
        ([0, 0, np.nan, 0, 0], [True, True, True, True, False], "is not finite at row 2"),
    ],
)
def test_bad_answers(targets, known, text):
    class Own:
        def targets(self, rows):
            return targets, known

    named = NamedTarget("Own", Own(), {}, "own.py:Own")
    with pytest.raises(UserError, match="^" + re.escape(f"target Own: {text}")):
        targets_of(named, make_rows([3, 2], np.zeros(5)))


def test_a_target_that_is_not_known_may_be_anything():
    class Own:
        def targets(self, rows):
            return np.array([1, np.nan, 2, 3, np.inf]), np.array([1, 0, 1, 1, 0], bool)

    named = NamedTarget("Own", Own(), {}, "own.py:Own")
    targets, known = targets_of(named, make_rows([3, 2], np.zeros(5)))
    assert targets[known].tolist() == [1, 2, 3]
