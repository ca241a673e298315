"""A user's own policy: what it may return, and how actions are drawn from it."""

import re
from pathlib import Path

import numpy as np
import pytest

from pvn.envs.policies import check_choice, load_own_policy, sample_action
from pvn.errors import UserError


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        (np.array([0, 3, 4]), "chose action 4, expected 0 to 3"),
        (np.array([0, -1, 2]), "chose action -1, expected 0 to 3"),
        (np.array([1, 2]), "gave int64 [2], expected whole actions [3], or float probabilities [3"),
        (np.array([1.0, 2, 3]), "gave float64 [3], expected whole actions [3]"),
        (np.full((4, 3), 0.25), "gave float64 [4, 3], expected whole actions [3]"),
        (np.ones(3, bool), "gave bool [3], expected whole actions [3]"),
        (None, "gave object [], expected whole actions [3]"),
        (np.full((3, 4), np.nan), "gave a probability that is not finite"),
        (np.full((3, 4), 0.3, np.float32), "gave probabilities that sum to 1.2, expected 1"),
        (np.tile([-0.5, 0.5, 0.5, 0.5], (3, 1)), "gave the probability -0.5, expected 0 or more"),
    ],
)
def test_wrong_output(choice, problem):
    with pytest.raises(UserError) as caught:
        check_choice("p.py:P", choice, 3, 4)
    assert str(caught.value).startswith(f"policy p.py:P: {problem}")
    assert "\n" not in str(caught.value)


def test_right_output():
    assert check_choice("p", [0, 3, 1], 3, 4).tolist() == [0, 3, 1]
    rows = np.tile(np.float32([0.1, 0.2, 0.3, 0.4]), (3, 1))
    np.testing.assert_array_equal(check_choice("p", rows, 3, 4), rows.astype(np.float64))


def test_uniform_play_and_greedy_actions():
    random, twin = np.random.default_rng(0), np.random.default_rng(0)
    drawn = [sample_action(None, 0.0, 5, random) for _ in range(50)]
    assert drawn == [int(twin.integers(5)) for _ in range(50)]
    assert {sample_action(np.int64(3), 0.0, 5, random) for _ in range(50)} == {3}
    explored = [sample_action(np.int64(3), 0.5, 5, random) for _ in range(4000)]
    counts = np.bincount(explored, minlength=5)
    # Action 3 has probability 0.5 + 0.5 / 5, the others 0.1 each. Bound: 5 standard deviations.
    np.testing.assert_allclose(counts / 4000, [0.1, 0.1, 0.1, 0.6, 0.1], atol=5 * 0.0078)


def test_actions_follow_the_probabilities():
    random = np.random.default_rng(1)
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    counts = np.bincount([sample_action(p, 0.0, 5, random) for _ in range(4000)], minlength=5)
    assert counts[[0, 2, 4]].tolist() == [0, 0, 0]
    assert abs(counts[1] / 4000 - 0.25) < 5 * 0.0069  # five standard deviations


def test_a_function_a_class_and_what_is_neither(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import numpy as np\n"
        "def fire(observation):\n"
        "    assert observation.dtype == np.uint8 and observation.shape[1:] == (84, 84, 4)\n"
        "    return np.ones(len(observation), int)\n"
        "class Fire:\n"
        "    def __call__(self, observation):\n"
        "        return fire(observation)\n"
        "number = 5\n"
    )
    observation = np.zeros((3, 84, 84, 4), np.uint8)
    for name in ("fire", "Fire"):
        policy, identity = load_own_policy(f"{file}:{name}", 4, (2, 84, 84, 4))
        assert policy(observation).tolist() == [1, 1, 1]
        assert identity["policy"] == f"own.py:{name}"
        assert len(identity["policy_files"]["own.py"]) == 64
    with pytest.raises(UserError, match=r"own.py:number: is a int, expected a callable or a class"):
        load_own_policy(f"{file}:number", 4, (2, 84, 84, 4))
    with pytest.raises(UserError, match=r"own.py:fire: chose action 1, expected 0 to 0$"):
        load_own_policy(f"{file}:fire", 1, (2, 84, 84, 4))


def test_the_example_of_the_docs(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (code,) = (block for block in blocks if "class Fire" in block)
    (tmp_path / "my_policy.py").write_text(code)
    policy, _ = load_own_policy(f"{tmp_path}/my_policy.py:Fire", 4, (2, 84, 84, 4))
    choice = policy(np.zeros((5, 84, 84, 4), np.uint8))
    assert choice.tolist() == [[0.0, 0.7, 0.3, 0.0]] * 5
