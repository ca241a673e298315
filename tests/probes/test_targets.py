"""The targets reward, action and next_features."""

import json
from pathlib import Path

import numpy as np
import pytest

import pvn
from pvn.data.store import open_dataset
from pvn.data.transitions import find_transitions
from pvn.errors import UserError
from pvn.evaluation.learner import Policy
from pvn.evaluation.policy import load_policy, save_policy
from pvn.evaluation.values import ActionValue
from pvn.probes.action import ActionTarget
from pvn.probes.next_features import NextFeatures
from pvn.probes.reward import RewardTarget
from pvn.probes.table import FeatureTable
from tests.datasets import as_dataset, make_rows
from tests.evaluation.pixels import linear_head


def test_reward():
    rows = make_rows([3, 2], [0, -1, 0, 0.5, 2])
    values, known = RewardTarget().targets(as_dataset(rows))
    assert (values.dtype, values.tolist()) == (bool, [False, True, False, True, True])
    assert known.all()


def test_stored_actions():
    rows = make_rows([3, 2], np.zeros(5))
    rows.action[:] = [3, 0, 1, 1, 2]
    values, known = ActionTarget().targets(as_dataset(rows))
    assert (values.dtype.kind, values.tolist()) == ("i", [3, 0, 1, 1, 2])
    assert known.all()


def test_actions_of_a_stored_policy(dataset: Path, tmp_path: Path) -> None:
    features = pvn.random_features(num_features=16, seed=1)
    random = np.random.default_rng(0)
    head = linear_head(random.normal(size=(16, 4)).astype(np.float32), np.zeros(4, np.float32))
    policy = Policy(features, head, ActionValue(), 4)
    metadata = {"game": "Breakout", "agent": "pvn", "head": "dqn"}
    save_policy(tmp_path / "policy", policy, metadata)
    opened = open_dataset(str(dataset))
    target = ActionTarget(policy=str(tmp_path), max_states=300)
    values, known = target.targets(opened, tmp_path)
    assert known.sum() == 300
    stored = json.loads((tmp_path / "policy" / "policy.json").read_text())
    digest = stored["head_sha256"]
    assert target.described == {"policy": "pvn dqn", "policy_sha256": digest}
    rows = np.flatnonzero(known)
    observations = find_transitions(opened.rows).observations(rows)
    np.testing.assert_array_equal(values[rows], load_policy(tmp_path)(observations))
    other = opened._replace(attributes=opened.attributes | {"game": "Pong"})
    with pytest.raises(UserError, match=f"^policy {tmp_path}: was fitted on Breakout"):
        target.targets(other, tmp_path)


def test_the_most_probable_action_of_an_own_policy(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import numpy as np\n"
        "def policy(observation):\n"
        "    bright = observation[..., -1].mean(axis=(1, 2)) > 40\n"
        "    return np.where(bright[:, None], [[0.1, 0.6, 0.2, 0.1]], [[0.1, 0.2, 0.6, 0.1]])\n"
    )
    opened = open_dataset(str(dataset))
    target = ActionTarget(f"{file}:policy", 100)
    values, known = target.targets(opened, tmp_path)
    bright = opened.rows.frame[np.flatnonzero(known)].mean(axis=(1, 2)) > 40
    np.testing.assert_array_equal(values[known], np.where(bright, 1, 2))
    assert target.described["policy"] == "own.py:policy"
    assert len(target.described["policy_sha256"]) == 64


def test_next_features_of_linear_dynamics():
    """Each action has a matrix of its own, so features beside a one-hot action would not do."""
    random = np.random.default_rng(0)
    rows = make_rows([25] * 15, np.zeros(375), ["terminal"] * 10 + ["cut"] * 5)
    rows.cut_start[100] = True
    rows.action[:] = random.integers(0, 3, 375)
    turns = [np.linalg.qr(random.normal(size=(4, 4)))[0] for _ in range(3)]
    table = random.normal(size=(375, 4))
    for row in range(374):
        if rows.episode[row] == rows.episode[row + 1]:
            table[row + 1] = turns[rows.action[row]] @ table[row]
    table = np.column_stack([table, np.zeros(375), random.normal(size=375)])
    question = NextFeatures().ask(rows, max_rows=1000, seed=0)
    # Not the last row of an episode, and not the first three of the fragment.
    last = np.flatnonzero(np.diff(rows.episode, append=-1))
    expected = np.setdiff1d(np.arange(375), [*last, 100, 101, 102])
    np.testing.assert_array_equal(question.split.row, expected)
    assert set(question.rows) == set(expected) | set(expected + 1)
    linear = FeatureTable(question.rows, table[question.rows][:, :5])
    result = question.answer(linear)
    assert result.scores["r2"].value > 0.9999  # the feature that does not vary does not count
    noisy = FeatureTable(question.rows, table[question.rows])
    assert question.answer(noisy).scores["r2"].value == pytest.approx(0.8, abs=0.02)
    dead = FeatureTable(question.rows, np.zeros((len(question.rows), 2)))
    with pytest.raises(UserError, match=r"^probe: no feature of the next states varies"):
        question.answer(dead)
