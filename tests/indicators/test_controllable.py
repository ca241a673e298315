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
    among,
    controllability,
    count_changes,
    most_controllable,
    num_transitions,
)
from pvn.indicators.indicator import Indicator
from pvn.indicators.random_network import RandomNetwork
from pvn.indicators.registry import make_indicator


def test_an_action_that_decides_explains_all_but_chance() -> None:
    """With two actions, C' = A. I = H = log 2; chance adds 1 / 2M for each of the two C."""
    counts = np.zeros((1, 2, 2, 2), np.int64)
    counts[0, 0, :, 0] = counts[0, 1, :, 1] = 250
    expected = 1 - 2 / (2 * 1000) / math.log(2)
    assert controllability(counts)[0] == pytest.approx(expected, abs=1e-12)


def test_an_action_without_effect_explains_nothing() -> None:
    """C' is 1 in a quarter of the cases, whatever A and C are, exactly; chance is subtracted."""
    counts = np.zeros((1, 3, 2, 2), np.int64)
    counts[0, :, :, 0], counts[0, :, :, 1] = 300, 100
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    expected = -2 * (3 - 1) / (2 * 2400) / entropy
    assert controllability(counts)[0] == pytest.approx(expected, abs=1e-12)


def test_constant_tasks_have_none() -> None:
    counts = np.zeros((4, 2, 2, 2), np.int64)
    counts[0, :, 0, 0] = 500  # off
    counts[1, :, 1, 1] = 500  # on
    counts[2, 0, 0, 0] = counts[2, 1, 1, 1] = 500  # never changes
    assert controllability(counts).tolist() == [0, 0, 0, 0]  # the last has no transitions


def test_a_task_that_hardly_ever_changes_does_not_win() -> None:
    """It changed once in 10,000 transitions, by chance after an action that was rare."""
    counts = np.zeros((1, 2, 2, 2), np.int64)
    counts[0, 0, 0, 0], counts[0, 1, 0, :] = 9_900, (99, 1)
    assert controllability(counts)[0] < 0.05


def _by_definition(counts: np.ndarray) -> tuple[float, float]:
    """(I(A; C' | C), H(C' | C)) of one task, from probabilities: counts [A, 2, 2]."""
    p = counts / counts.sum()
    information = entropy = 0.0
    for action, now, following in np.ndindex(p.shape):
        joint, given_now = p[action, now, following], p[:, now].sum()
        if joint:
            with_action = joint / p[action, now].sum()
            without = p[:, now, following].sum() / given_now
            information += joint * math.log(with_action / without)
            entropy -= joint * math.log(without)
    return information, entropy


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_it_is_the_share_of_the_entropy(num_actions: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 100, (1, num_actions, 2, 2)) * random.integers(
        0, 2, (num_actions, 2, 2)
    )
    counts[0, 0, 0, 1] += 1
    information, entropy = _by_definition(counts[0])
    both = [set(counts[0, :, now].sum(axis=0) > 0) == {True} for now in (0, 1)]
    taken = [(counts[0, :, now].sum(axis=1) > 0).sum() for now in (0, 1)]
    chance = sum(max(a - 1, 0) for a, b in zip(taken, both, strict=True) if b) / 2 / counts.sum()
    assert controllability(counts)[0] == pytest.approx(
        (information - chance) / max(entropy, 0.01), abs=1e-9
    )


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_changes_are_counted(num_states: int, num_actions: int, num_tasks: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    before, after = random.integers(0, 2, (2, num_states, num_tasks)).astype(bool)
    action = random.integers(0, num_actions, num_states)
    expected = np.zeros((num_tasks, action.max() + 1, 2, 2), np.int64)
    for row, task in np.ndindex(num_states, num_tasks):
        expected[task, action[row], int(before[row, task]), int(after[row, task])] += 1
    np.testing.assert_array_equal(count_changes(before, after, action), expected)


def _pixels(num_tasks: int) -> Indicator:
    """Task t is on where pixel t of the first row is."""
    return Indicator(
        num_tasks,
        init=lambda key, observation: ((), jnp.zeros(num_tasks)),
        response=lambda frozen, x: x[:, 0, :num_tasks, 0].astype(jnp.float32),
        cumulant=lambda fitted, response: (response > fitted[None]).astype(jnp.float32),
        fit=lambda responses: np.full(num_tasks, 0.5, np.float32),
        binary=True,
    )


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
    tasks = among(_pixels(8), _pixels(2))
    choice = most_controllable(
        tasks, jax.random.key(0), transitions, seed=0, on_progress=done.append
    )
    assert choice.kept.tolist() == [2, 5]
    assert choice.kept.dtype == np.int32
    # But for chance, 2 / 2M: a transition across episodes is one in 20, and would take a third.
    assert choice.controllability[[2, 5]] == pytest.approx(1, abs=0.002)
    assert np.abs(np.delete(choice.controllability, [2, 5])).max() < 0.01
    assert sum(done) == 2_000
    assert tasks.candidates is not None
    kept = tasks.candidates.keep(choice.kept)
    states = transitions.observations(np.arange(50))
    frozen, fitted = kept.init(jax.random.key(0), states[:1])
    np.testing.assert_array_equal(kept.response(frozen, states), states[:, 0, [2, 5], 0])
    assert kept.num_tasks == 2
    assert np.shape(fitted) == (2,)
    assert "2 of 8 candidates, of controllability 9" in str(choice)


def test_dead_tasks_are_the_last_and_of_equals_the_first() -> None:
    """What is on is decided by no action, in more transitions than are wanted of it."""
    transitions = _transitions()
    frame = transitions.rows.frame
    frame[:, 0, :, 0] = 0
    frame[::3, 0, 4:6, 0] = 1
    frame[:, 0, 7, 0] = 1
    choice = most_controllable(
        among(_pixels(8), _pixels(4)), jax.random.key(0), transitions, seed=0
    )
    assert choice.controllability[4] < 0
    assert choice.kept.tolist() == [0, 1, 4, 5]


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
        among(_pixels(num_tasks), _pixels(2)), jax.random.key(0), find_transitions(rows), seed=0
    )
    # The measure is about chi-squared / 2MH, 10 degrees of freedom less their number.
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    spread = math.sqrt(2 * 10) / (2 * number * entropy)
    assert abs(choice.controllability.mean()) < 3 * spread / math.sqrt(num_tasks)
    assert choice.controllability.std() == pytest.approx(spread, rel=0.3)


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
    assert num_transitions(10**9, controllable.MOST_CANDIDATES) == 1_024


def test_what_cannot_be_chosen() -> None:
    real = RandomNetwork(threshold_from="quantile_regression")
    with pytest.raises(UserError, match="candidates_per_task: 2, expected 1 with"):
        make_indicator("random_network", real, 3, candidates_per_task=2)
    with pytest.raises(UserError, match="70,000, expected at most 65,536: 131,072 candidates for"):
        make_indicator("random_network", RandomNetwork(), 2, candidates_per_task=70_000)
    unfitted = among(_pixels(8)._replace(fit=None), _pixels(2)._replace(fit=None))
    with pytest.raises(UserError, match="fitted parameters and no function `fit`"):
        unfitted.init(jax.random.key(0), np.zeros((1, 10, 10, 1), np.uint8))
    episodes = _transitions()
    alone = find_transitions(episodes.rows._replace(terminal=np.ones(2_000, bool)))
    with pytest.raises(UserError, match="expected 1 for data without next states"):
        most_controllable(among(_pixels(8), _pixels(2)), jax.random.key(0), alone, seed=0)
