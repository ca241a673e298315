"""A user's own scores and details of a target."""

import re

import numpy as np
import pytest

from pvn.errors import UserError
from pvn.probes.questions import ask_all
from pvn.probes.results import Origin, probe_rows
from pvn.probes.table import FeatureTable
from pvn.probes.target import load_target
from tests.datasets import as_dataset, make_rows

OWN = """
import numpy as np

class Own:
    described = {"found": 3}

    def targets(self, dataset, folder):
        return dataset.rows.reward, np.ones(len(dataset.rows.reward), bool)

    def scores(self, values, predictions):
        SCORES

    def details(self, values):
        return {"rows": len(values), "undefined": float("nan")}
"""


def asked(scores, folder):
    """(name of the target, its only result and its settings)."""
    file = folder / "own.py"
    file.write_text(OWN.replace("SCORES", scores))
    random = np.random.default_rng(0)
    rows = make_rows([10] * 20, random.normal(size=200))
    questions = ask_all(
        [load_target(f"{file}:Own", {})], as_dataset(rows), folder, max_rows=200, seed=0,
        diagnostics=False,
    )  # fmt: skip
    table = FeatureTable(questions.rows, random.normal(size=(len(questions.rows), 3)))
    ((named, result),) = questions.answers(table)
    return named, result


def test_details_are_no_scores(tmp_path):
    named, result = asked('return {"x": np.float32(2)}', tmp_path)
    assert named.settings.keys() == {"code", "found"}
    assert result.scores["x"] == (2, 2, 2)
    assert result.scores.keys() == {"r2", "x"}
    for row in probe_rows(Origin("Pong", "a", 0, {}, {}, {}), named, result, 200):
        assert (row.details["rows"], row.settings["found"]) == (40, 3)  # four episodes of 10
        assert "undefined" not in row.details  # JSON holds no NaN


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ("return 1 / 0", "own.py, line 11: ZeroDivisionError: division by zero"),
        ("return 0.5", "scores(values, predictions) gave 0.5, expected a dict of names to numbers"),
        ("return {1: 0.5}", "scores(values, predictions) gave {1: 0.5}, expected a dict of names"),
        ("return {'x': 'much'}", "scores(values, predictions) gave {'x': 'much'}, expected a "),
        ("return {'x': values}", "scores(values, predictions) gave {'x': array("),
        ("return {f'x{len(values)}{values.sum()}': 0.5}", "its score 'x40"),
        ("return {'r2': 0.5}", "its score 'r2' is one of pvn's own; rename it"),
    ],
)
def test_wrong_scores_are_one_line(scores, text, tmp_path):
    with pytest.raises(UserError, match="^" + re.escape(f"target {tmp_path}/own.py:Own: {text}")):
        asked(scores, tmp_path)


@pytest.mark.parametrize(
    ("described", "text"),
    [
        ("None", "{}/own.py:Own: TypeError: 'NoneType' object is not iterable"),
        ("{'x': np.zeros(3)}", "Own: its setting x is a ndarray, expected numbers, text, lists or"),
    ],
)
def test_settings_that_rows_cannot_hold_are_one_line(described, text, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.OWN", OWN.replace('{"found": 3}', described))
    text = f"target {text.replace('{}', str(tmp_path))}"
    with pytest.raises(UserError, match="^" + re.escape(text)):
        asked("return {}", tmp_path)
