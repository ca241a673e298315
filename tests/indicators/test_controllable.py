"""Which of many tasks an agent controls, by hand and by the definition of the measure."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data.layout import Rows
from pvn.data.transitions import Transitions, find_transitions
from pvn.errors import UserError
from pvn.indicators import controllable
from pvn.indicators.controllable import (
    adjusted_r2,
    among,
    controllability,
    most_controllable,
    num_transitions,
)
from pvn.indicators.indicator import Indicator
from pvn.indicators.random_network import RandomNetwork
from pvn.indicators.registry import make_indicator
from pvn.ridge import Ridge

KEY = jax.random.key(7)


def test_a_line_explains_all() -> None:
    """In the second task the slope has another sign in each group."""
    x = np.arange(100.0)[:, None] % 7
    group = np.stack([np.zeros(100), np.arange(100) < 50], 1).astype(bool)
    y = np.concatenate([2 * x + 1, np.where(group[:, 1:], x, -x)], axis=1)
    np.testing.assert_allclose(adjusted_r2(x, y, group), 1, atol=1e-12)


def test_what_chance_adds_is_subtracted() -> None:
    """x and y are orthogonal in both groups: S is 0, df 1, and V is S_g / (n_g - 2), S_g = n_g."""
    x, y = (np.tile(each, 15)[:, None] for each in ([1.0, 1, -1, -1], [1.0, -1, 1, -1]))
    group = (np.arange(60) < 20)[:, None]
    expected = -(20 / 18 + 40 / 38) / 60
    assert adjusted_r2(x, y, group)[0] == pytest.approx(expected, abs=1e-12)
    expected = -(20 / (0.75 * 20 - 2) + 40 / (0.75 * 40 - 2)) / 60
    assert adjusted_r2(x, y, group, 0.75)[0] == pytest.approx(expected, abs=1e-12)


def test_a_group_without_rows_or_with_too_few_says_nothing() -> None:
    x = np.arange(50.0)[:, None]
    one = np.zeros((50, 1), bool)
    few = one.copy()
    few[[3, 20, 40]] = True
    y = np.where(few, x**2, 2 * x)
    assert adjusted_r2(x, 2 * x, one)[0] == pytest.approx(1)
    rows = ~few[:, 0]
    of_few = np.sum((y[~rows] - y[~rows].mean()) ** 2)
    of_all = np.sum((y[rows] - y[rows].mean()) ** 2)
    assert adjusted_r2(x, y, few)[0] == pytest.approx(of_all / (of_all + of_few))


def test_what_does_not_vary_is_zero() -> None:
    action, at = np.arange(500) % 3, np.arange(500)
    same = np.stack([np.zeros(1000), np.ones(1000)], axis=1).astype(bool)
    assert controllability(same, at, at + 500, action).tolist() == [0, 0]


def test_a_task_that_hardly_ever_changes_does_not_win() -> None:
    """It changed in one of 20,000 transitions, after an action that is taken in 5."""
    cumulants, action = np.zeros((40_000, 1), bool), np.zeros(20_000, np.int32)
    action[::4_000] = cumulants[20_000] = True
    at = np.arange(20_000)
    # By the variance of the task alone it would be 0.2: S is 1 / 5, and S_all is 1.
    found = controllability(cumulants, at, at + 20_000, action)[0]
    assert found == pytest.approx(1 / 5 / (1e-4 * 20_000), rel=0.01)


@settings(deadline=None)
@given(st.integers(36, 80), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_by_least_squares(number: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(number, width)), random.normal(size=(number, 2))
    group = random.random((number, 2)) < 0.5
    group[:18], group[18:36] = False, True
    expected = []
    for task in range(2):
        total = explained = 0.0
        for value in (False, True):
            rows = group[:, task] == value
            with_mean = np.column_stack([np.ones(rows.sum()), x[rows]])
            target = y[rows, task]
            weights = np.linalg.lstsq(with_mean, target, rcond=None)[0]
            squares = np.sum((target - target.mean()) ** 2)
            left = np.sum((target - with_mean @ weights) ** 2)
            total += squares
            explained += squares - left - width * left / (rows.sum() - width - 1)
        expected.append(explained / total)
    np.testing.assert_allclose(adjusted_r2(x, y, group), expected, atol=1e-6)


def test_what_a_player_reacts_to_is_not_controlled() -> None:
    """Pixel 1 moves on to pixel 2 by itself, and the player looks at it; it sets pixel 3."""
    random = np.random.default_rng(0)
    before = random.random((4_000, 4)) < 0.5
    action = np.where(random.random(4_000) < 0.1, random.integers(0, 2, 4_000), before[:, 1])
    after = random.random((4_000, 4)) < 0.5
    after[:, 2], after[:, 3] = before[:, 1], action == 1
    found = _controllability(before, after, action)
    assert found[3] == pytest.approx(1, abs=0.01)
    assert np.abs(found[:3]).max() < 0.01
    # Without what the state says, the action would seem to explain four fifths of pixel 2.
    seems = adjusted_r2(action[:, None] - 0.5, after[:, 2:3] - 0.5, before[:, 2:3])
    assert seems[0] == pytest.approx(0.9**2, abs=0.03)


def test_it_does_not_matter_how_actions_are_numbered() -> None:
    random = np.random.default_rng(0)
    before, after = random.random((2, 5_000, 3)) < 0.5
    action = random.choice(4, 5_000, p=[0.4, 0.35, 0.24, 0.01])
    after[:, 0] ^= action == 3
    expected = _controllability(before, after, action)
    for order in ([3, 1, 2, 0], [1, 3, 0, 2]):
        found = _controllability(before, after, np.array(order)[action])
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("number", "num_tasks", "num_actions"), [(4_000, 200, 18), (1_024, 993, 6), (500, 1_000, 6)]
)
def test_rare_persistent_tasks_and_few_transitions_do_not_raise_it(
    number: int, num_tasks: int, num_actions: int
) -> None:
    """Random actions without effect. A task is on in a twentieth of the states, in runs of two."""
    random = np.random.default_rng(0)
    before = random.random((number, num_tasks)) < 0.05
    after = random.random((number, num_tasks)) < np.where(before, 0.5, 0.5 * 0.05 / 0.95)
    found = _controllability(before, after, random.integers(0, num_actions, number))
    assert -0.03 < found.mean() < 0.002  # rather too little than too much
    assert found.max() < 0.15


def test_more_candidates_than_a_block() -> None:
    random = np.random.default_rng(0)
    before, after = random.random((2, 3_000, 1_100)) < 0.5
    action = random.integers(0, 3, 3_000)
    after[:, 1_050] = action == 2
    found = _controllability(before, after, action)
    assert found.shape == (1_100,)
    assert found.argmax() == 1_050
    ridge = Ridge(before[:, ::2].astype(np.float32))
    targets = np.stack([*(action == n for n in range(3)), *after[:, [0, 600, 1_050]].T], 1)
    weights, intercepts = ridge.weights(ridge.moments(targets.astype(float)), 0.01)
    left = targets - before[:, ::2] @ weights - intercepts[None]
    share = 1 - ridge.freedom(0.01) / 3_000
    expected = adjusted_r2(left[:, :3], left[:, 3:], before[:, [0, 600, 1_050]], share)
    np.testing.assert_allclose(found[[0, 600, 1_050]], expected, atol=1e-4)


def _controllability(before: np.ndarray, after: np.ndarray, action: np.ndarray) -> np.ndarray:
    at = np.arange(len(before))
    return controllability(np.concatenate([before, after]), at, at + len(before), action)


def _pixels(num_tasks: int) -> Indicator:
    """Each task is on where a pixel of the first row is: all pixels, in an order of the key.

    The thresholds of `init` are wrong: all tasks are off.
    """
    return Indicator(
        num_tasks,
        init=lambda key, observation: (
            jax.random.permutation(key, observation.shape[2])[:num_tasks],
            jnp.full(num_tasks, 9.0),
        ),
        response=lambda frozen, x: x[:, 0, :, 0].astype(jnp.float32)[:, frozen],
        cumulant=lambda fitted, response: (response > fitted[None]).astype(jnp.float32),
        fit=lambda responses: np.full(num_tasks, 0.5, np.float32),
        binary=True,
    )


def _order(num_pixels: int) -> np.ndarray:
    """The pixels of the candidates."""
    return np.asarray(jax.random.permutation(KEY, num_pixels))


def _transitions() -> Transitions:
    """Episodes of 20 in which pixels 2 and 5 show the last action, except at their start."""
    random = np.random.default_rng(0)
    number, length = 2_000, 20
    action = random.integers(0, 2, number).astype(np.int32)
    frame = random.integers(0, 2, (number, 10, 10, 1), dtype=np.uint8)
    before = np.append(0, action[:-1])
    within = np.arange(number) % length > 0
    frame[:, 0, 2, 0] = np.where(within, before, 1 - before)
    frame[:, 0, 5, 0] = np.where(within, 1 - before, before)
    frame[:, 0, 6, 0] = 1
    last = np.arange(number) % length == length - 1
    return find_transitions(
        Rows(
            frame=frame,
            action=action,
            reward=np.zeros(number, np.float32),
            terminal=last & (np.arange(number) % 40 < length),
            truncated=last & (np.arange(number) % 40 > length),
            cut_start=np.zeros(number, bool),
            episode=(np.arange(number) // length).astype(np.int32),
        )
    )


def test_what_the_actions_set_is_chosen() -> None:
    transitions, done = _transitions(), []
    tasks = among(_pixels(10), _pixels(2))
    choice = most_controllable(tasks, KEY, transitions, seed=0, on_progress=done.append)
    assert set(_order(10)[choice.kept].tolist()) == {2, 5}
    assert (np.diff(choice.kept) > 0).all()
    assert choice.kept.dtype == np.int32
    # A transition across episodes, one in 20, would take away a fifth.
    assert choice.controllability[choice.kept] == pytest.approx(1, abs=0.02)
    assert np.abs(np.delete(choice.controllability, choice.kept)).max() < choice.chance < 0.01
    assert choice.num_by_chance == 0
    assert sum(done) == 2_000
    assert tasks.candidates is not None
    kept = tasks.candidates.keep(choice.kept)
    states = transitions.observations(np.arange(50))
    frozen, fitted = kept.init(KEY, states[:1])
    pixels = _order(10)[choice.kept]
    np.testing.assert_array_equal(kept.response(frozen, states), states[:, 0, pixels, 0])
    assert kept.num_tasks == 2
    assert np.shape(fitted) == (2,)
    assert "2 of 10 candidates, of controllability 100.0% to 100.0% (the median of all: 0" in str(
        choice
    )


def test_dead_tasks_are_the_last_and_of_equals_the_first() -> None:
    """What is on is decided by no action, in more transitions than are wanted of it."""
    transitions = _transitions()
    frame = transitions.rows.frame
    frame[:, 0, :, 0] = 0
    frame[::3, 0, 4:6, 0] = 1
    frame[:, 0, 7, 0] = 1
    choice = most_controllable(among(_pixels(10), _pixels(4)), KEY, transitions, seed=0)
    pixels = _order(10)
    alive = np.flatnonzero((pixels == 4) | (pixels == 5))
    assert choice.controllability[alive[0]] < 0
    dead = np.delete(np.arange(10), alive)
    assert choice.kept.tolist() == sorted([*alive, *dead[:2]])
    assert choice.num_by_chance == 4


def test_a_sample_of_the_transitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn by the seed, from all of the data; thresholds are fitted to some of their states."""
    monkeypatch.setattr(controllable, "_MOST_TRANSITIONS", 300)
    monkeypatch.setattr(controllable, "MOST_BYTES", 4 * 10 * 100)
    monkeypatch.setattr(controllable, "num_transitions", lambda available, candidates: 300)
    transitions, found = _transitions(), []
    transitions.rows.action[1_000:] = 0  # nothing can be learned from the second half
    transitions.rows.action[1_999] = 1
    for seed in (0, 1):
        done: list[int] = []
        choice = most_controllable(
            among(_pixels(10), _pixels(2)), KEY, transitions, seed=seed, on_progress=done.append
        )
        found.append(choice.controllability)
        assert 150 < sum(done) <= 700
    assert not np.array_equal(*found)


def test_what_no_action_controls_is_zero_in_the_mean() -> None:
    """Also from few transitions: each is drawn once, as the correction for chance assumes."""
    random = np.random.default_rng(0)
    number, num_tasks = 3_000, 100
    frame = random.random((number, 1, num_tasks, 1)) < 0.2
    rows = _transitions().rows
    rows = type(rows)(*(np.resize(column, number) if i else frame.astype(np.uint8)
                        for i, column in enumerate(rows[:7])))  # fmt: skip
    rows = rows._replace(
        action=random.integers(0, 6, number).astype(np.int32),
        episode=np.zeros(number, np.int32),
        terminal=np.zeros(number, bool),
    )
    choice = most_controllable(
        among(_pixels(num_tasks), _pixels(2)), KEY, find_transitions(rows), seed=0
    )
    # The measure is about (chi-squared of 10 degrees of freedom - 10) / M.
    spread = math.sqrt(2 * 10) / number
    assert choice.chance == pytest.approx(4 * spread, rel=1e-3)
    assert abs(choice.controllability.mean()) < 3 * spread / math.sqrt(num_tasks)
    assert choice.controllability.std() == pytest.approx(spread, rel=0.3)
    assert choice.controllability.max() < choice.chance


def test_the_tasks_kept_have_the_thresholds_of_their_family() -> None:
    """The same cumulants as all candidates', whether they are standardised or not."""
    states = np.random.default_rng(0).integers(0, 2, (300, 10, 10, 2), dtype=np.uint8)
    family = RandomNetwork(tasks_per_network=4)
    everything, kept = family.indicator(12), np.int32([1, 7, 10])
    tasks = make_indicator("random_network", family, 3, candidates_per_task=4)
    assert tasks.candidates is not None
    tasks = tasks.candidates.keep(kept)
    frozen, _ = tasks.init(jax.random.key(0), states[:1])
    response = np.asarray(tasks.response(frozen, states))
    all_frozen, _ = everything.init(jax.random.key(0), states[:1])
    all_responses = np.asarray(everything.response(all_frozen, states))
    np.testing.assert_array_equal(response, all_responses[:, kept])
    assert tasks.fit
    assert everything.fit
    np.testing.assert_array_equal(tasks.fit(response), everything.fit(all_responses)[kept])
    standardised = make_indicator("random_network", family, 3, "standardised", 4)
    assert standardised.candidates is not None
    assert standardised.candidates.keep(kept).standardise is not None


def test_fewer_transitions_for_many_candidates() -> None:
    assert num_transitions(10**9, 100) == 32_768
    assert num_transitions(500, 100) == 500
    assert num_transitions(10**9, controllable.MOST_CANDIDATES) == 4_096


def test_what_cannot_be_chosen() -> None:
    real = RandomNetwork(threshold_from="quantile_regression")
    with pytest.raises(UserError, match="candidates_per_task: 2, expected 1 with"):
        make_indicator("random_network", real, 3, candidates_per_task=2)
    with pytest.raises(
        UserError, match="70,000, expected fewer: 140,000 candidates in all, at most"
    ):
        make_indicator("random_network", RandomNetwork(), 2, candidates_per_task=70_000)
    unfitted = among(_pixels(8)._replace(fit=None), _pixels(2)._replace(fit=None))
    with pytest.raises(UserError, match="fitted parameters and no function `fit`"):
        unfitted.init(jax.random.key(0), np.zeros((1, 10, 10, 1), np.uint8))
    episodes = _transitions()
    alone = find_transitions(episodes.rows._replace(terminal=np.ones(2_000, bool)))
    with pytest.raises(UserError, match="expected 1 for data with fewer than two actions"):
        most_controllable(among(_pixels(8), _pixels(2)), KEY, alone, seed=0)
    episodes.rows.action[:] = 3
    with pytest.raises(UserError, match="expected 1 for data with fewer than two actions"):
        most_controllable(among(_pixels(8), _pixels(2)), KEY, episodes, seed=0)
