import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from pvn.data.store import Rows
from pvn.errors import UserError
from pvn.evaluation.probe import monte_carlo_values, probe_values, r_squared_interval
from pvn.evaluation.ridge import PENALTIES


def make_rows(lengths, reward, ends=None, numbers=None):
    """Rows of episodes. ends: "terminal" (everywhere if None), "truncated" or "cut" (no flag).

    A row's frame spells its number, so that features can be looked up.
    """
    total = sum(lengths)
    last = np.cumsum(lengths) - 1
    ends = np.array(ends or ["terminal"] * len(lengths))
    terminal, truncated = np.zeros(total, bool), np.zeros(total, bool)
    terminal[last], truncated[last] = ends == "terminal", ends == "truncated"
    row = np.arange(total)
    return Rows(
        frame=np.stack([row // 256, row % 256], axis=-1).astype(np.uint8)[:, None, :],
        action=np.zeros(total, np.int32),
        reward=np.asarray(reward, np.float32),
        terminal=terminal,
        truncated=truncated,
        cut_start=np.zeros(total, bool),
        episode=np.repeat(range(len(lengths)) if numbers is None else numbers, lengths).astype(
            np.int32
        ),
    )


def looked_up(table):
    """Features: the row of `table` [N, F] that the newest frame spells."""

    def features(observation):
        assert observation.dtype == np.uint8
        assert observation.shape[1:] == (1, 2, 4)
        newest = observation[:, 0, :, -1].astype(int)
        return table[newest[:, 0] * 256 + newest[:, 1]]

    return features


# Returns.


def slow_returns(rows, discount, clip):
    """(returns, known) of each row by walking to the end of its episode."""
    total = len(rows.reward)
    returns, known = np.zeros(total), np.zeros(total, bool)
    for row in range(total):
        at, weight = row, 1.0
        while True:
            reward = float(rows.reward[at])
            returns[row] += weight * (min(max(reward, -1.0), 1.0) if clip else reward)
            weight *= discount
            at += 1
            if at == total or rows.episode[at] != rows.episode[row]:
                break
        known[row] = rows.terminal[at - 1] or weight < 0.01
    return returns, known


@st.composite
def datasets(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8))
    kinds = st.sampled_from(["terminal", "truncated", "cut"])
    ends = [draw(kinds) for _ in lengths]
    numbers = draw(st.permutations(range(3, 3 + len(lengths))))
    rewards = draw(st.lists(st.integers(-40, 40), min_size=sum(lengths), max_size=sum(lengths)))
    return make_rows(lengths, np.array(rewards) / 8, ends, numbers)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(datasets(), st.sampled_from([0.0, 0.3, 0.6, 0.9, 0.99, 1.0]), st.booleans())
@example(make_rows([1], [5]), 0.9, True)
@example(make_rows([900], np.ones(900), ["cut"]), 0.99, False)
def test_returns_of_a_slow_reference(rows, discount, clip):
    returns, known = monte_carlo_values(rows, discount, clip)
    expected, expected_known = slow_returns(rows, discount, clip)
    assert returns.dtype == np.float32
    assert known.dtype == bool
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(known, expected_known)


def test_returns_by_hand():
    rewards = [1, 0, 4] + [-3, 2] + [0.5]
    rows = make_rows([3, 2, 1], rewards, ["terminal", "terminal", "terminal"])
    returns, known = monte_carlo_values(rows, 0.5, clip=False)
    assert returns.tolist() == [2, 2, 4, -2, 2, 0.5]
    assert known.all()
    returns, _ = monte_carlo_values(rows, 0.5, clip=True)
    assert returns.tolist() == [1.25, 0.5, 1, -0.5, 1, 0.5]
    assert rows.reward.tolist() == rewards  # left alone
    # (1/2)^6 is more than 1 %, (1/2)^7 is less: a cut hides little from seven steps before it on.
    for ends in (["terminal", "truncated"], ["terminal", "cut"]):
        rows = make_rows([2, 9], np.zeros(11), ends)
        _, known = monte_carlo_values(rows, 0.5, clip=True)
        assert known.tolist() == [True] * 2 + [True] * 3 + [False] * 6


# R^2 and its interval.


def episodes_of_predictions(count, length, seed):
    """(episode, target, prediction): targets and errors are mostly the episode's."""
    random = np.random.default_rng(seed)
    episode = np.repeat(random.permutation(1000)[:count], length)
    shared, error = np.repeat(random.normal(size=(2, count)), length, axis=1)
    target = shared + 0.3 * random.normal(size=len(episode))
    return episode, target, target + 0.7 * error + 0.3 * random.normal(size=len(episode))


# The variance of the targets is 1.09, that of the errors 0.58.
TRUE_R2 = 1 - (0.49 + 0.09) / 1.09


def test_r_squared_is_that_of_scikit_learn():
    for seed in range(5):
        episode, target, prediction = episodes_of_predictions(20, 6, seed)
        r2, low, high = r_squared_interval(episode, target + 9, prediction + 9)
        np.testing.assert_allclose(r2, r2_score(target, prediction), rtol=1e-9)
        assert low < r2 < high
    constant = np.full(len(target), target.mean())
    np.testing.assert_allclose(r_squared_interval(episode, target, constant)[0], 0, atol=1e-12)
    assert r_squared_interval(episode, target, target) == (1, 1, 1)


def test_interval_of_two_episodes_by_hand():
    # Resamples are the first episode twice (1/4), both (1/2), the second twice (1/4).
    episode = np.array([7, 7, 3, 3, 3])
    target = np.array([0.0, 2, 1, 4, 7])
    prediction = np.array([0.5, 2, 1, 2, 7])
    alone = [r2_score(target[episode == e], prediction[episode == e]) for e in (7, 3)]
    both = r2_score(target, prediction)
    assert not np.isclose(*alone)
    r2, low, high = r_squared_interval(episode, target, prediction)
    np.testing.assert_allclose([r2, low, high], [both, min(alone), max(alone)], rtol=1e-12)


def test_interval_is_a_function_of_its_seed():
    data = episodes_of_predictions(10, 5, 0)
    assert r_squared_interval(*data, seed=1) == r_squared_interval(*data, seed=1)
    assert r_squared_interval(*data, seed=1) != r_squared_interval(*data, seed=2)
    # Which rows are neighbours does not matter, only whose they are.
    order = np.random.default_rng(0).permutation(50)
    shuffled = [column[order] for column in data]
    np.testing.assert_allclose(r_squared_interval(*shuffled), r_squared_interval(*data), rtol=1e-9)


def test_interval_covers_where_one_over_rows_would_not():
    covered, covered_over_rows, trials = 0, 0, 200
    for seed in range(trials):
        episode, target, prediction = episodes_of_predictions(40, 10, seed)
        _, low, high = r_squared_interval(episode, target, prediction, num_resamples=400)
        covered += low <= TRUE_R2 <= high
        rows = np.arange(len(episode))
        _, low_rows, high_rows = r_squared_interval(rows, target, prediction, num_resamples=400)
        covered_over_rows += low_rows <= TRUE_R2 <= high_rows
        assert high - low > 1.5 * (high_rows - low_rows)
    assert 0.88 <= covered / trials <= 0.98
    assert covered_over_rows / trials < 0.7


# The probe.

DISCOUNT = 0.8


def some_episodes(count, seed=0, longest=60):
    random = np.random.default_rng(seed)
    lengths = random.integers(20, longest, count).tolist()
    return make_rows(lengths, random.integers(-1, 2, sum(lengths)))


def values_of(rows, clip=True):
    return monte_carlo_values(rows, DISCOUNT, clip)[0]


def test_values_that_are_linear_in_a_feature():
    rows = some_episodes(30)
    noise = np.random.default_rng(1).normal(size=(len(rows.reward), 4))
    table = np.column_stack([3 - 0.01 * values_of(rows), noise]).astype(np.float32)
    seen = []
    result = probe_values(looked_up(table), rows, discount=DISCOUNT, report=seen.append)
    assert result.r2 > 0.999
    assert 0.999 < result.r2_low <= result.r2 <= result.r2_high <= 1
    assert result.penalty < 1e-3
    # 30 episodes in three parts, 18 : 6 : 6; each row is looked at once.
    assert result.num_test_episodes == 6
    assert sum(seen) == len(rows.reward)
    assert len(seen) == -(-len(rows.reward) // 1024)
    assert 6 * 20 <= result.num_test_rows <= 6 * 59
    assert 18 * 20 <= result.num_train_rows <= 18 * 59
    assert result.num_train_rows + result.num_test_rows < len(rows.reward)


def test_noise_says_nothing():
    rows = some_episodes(30)
    table = np.random.default_rng(1).normal(size=(len(rows.reward), 50)).astype(np.float32)
    result = probe_values(looked_up(table), rows, discount=DISCOUNT)
    assert -0.2 < result.r2 < 0.02
    assert result.penalty >= 0.1  # held-out episodes tell that the weights are noise


def test_the_episode_says_nothing_of_other_episodes():
    # Rewards are the same throughout an episode, so its number gives the values away, but only in
    # an episode that was fitted.
    random = np.random.default_rng(0)
    lengths = [30] * 25
    of_episode = random.choice([-1.0, -0.5, 0.5, 1], size=25)
    rows = make_rows(lengths, np.repeat(of_episode, lengths))
    table = np.repeat(np.eye(25, dtype=np.float32), lengths, axis=0)
    values = values_of(rows)
    fitted = np.linalg.lstsq(table.astype(float), values, rcond=None)[0]
    assert r2_score(values, table @ fitted) > 0.9
    for seed in range(5):
        result = probe_values(looked_up(table), rows, discount=DISCOUNT, seed=seed)
        assert result.r2 <= 0.01


def test_the_penalty_is_chosen_and_needed():
    # One useful feature among many, and few rows: a fit without a penalty is worse than none.
    rows = some_episodes(15, longest=30)
    random = np.random.default_rng(1)
    useful = values_of(rows) + 0.3 * random.normal(size=len(rows.reward))
    table = np.column_stack([useful, random.normal(size=(len(useful), 200))]).astype(np.float32)
    result = probe_values(looked_up(table), rows, discount=DISCOUNT)
    assert result.penalty in PENALTIES
    assert 0.01 < result.penalty < 100
    assert result.r2 > 0.3


def test_rewards_are_clipped_if_asked():
    rows = some_episodes(30)
    rows = rows._replace(reward=rows.reward * np.where(np.arange(len(rows.reward)) % 3, 1, 20))
    clipped, raw = (values_of(rows, clip)[:, None] for clip in (True, False))
    for table, clip_rewards, good in (
        (clipped, True, True), (raw, True, False), (raw, False, True), (clipped, False, False)
    ):  # fmt: skip
        result = probe_values(looked_up(table), rows, discount=DISCOUNT, clip_rewards=clip_rewards)
        assert (result.r2 > 0.999) == good


def test_rows_without_a_stack_do_not_count():
    rows = some_episodes(20)
    starts = np.flatnonzero(np.diff(rows.episode, prepend=rows.episode[0] - 1))
    rows.cut_start[starts[::2]] = True
    without = np.concatenate([starts[::2] + row for row in range(3)])
    table = values_of(rows).astype(np.float32)[:, None]
    table[without] = 1e6
    seen = []
    result = probe_values(looked_up(table), rows, discount=DISCOUNT, report=seen.append)
    assert result.r2 > 0.999
    assert sum(seen) == len(rows.reward) - len(without)


def test_only_rows_with_known_values_count():
    # The last rows of truncated episodes are not known: 0.8^20 > 0.01 > 0.8^21.
    rows = some_episodes(20)
    last = np.flatnonzero(rows.terminal)
    cut = last[::2]
    rows.terminal[cut], rows.truncated[cut] = False, True
    values, known = monte_carlo_values(rows, DISCOUNT, clip=True)
    assert 0 < np.sum(~known) == 20 * len(cut)
    table = np.where(known, values, 1e6).astype(np.float32)[:, None]
    seen = []
    result = probe_values(looked_up(table), rows, discount=DISCOUNT, report=seen.append)
    assert result.r2 > 0.999
    assert sum(seen) == np.sum(known)


def test_at_most_so_many_rows():
    rows = some_episodes(40)
    table = values_of(rows)[:, None]
    looked_at = []

    def features(observation):
        newest = observation[:, 0, :, -1].astype(int)
        looked_at.extend((newest[:, 0] * 256 + newest[:, 1]).tolist())
        return looked_up(table)(observation)

    result = probe_values(features, rows, discount=DISCOUNT, max_rows=500)
    assert len(looked_at) == len(set(looked_at)) == 500
    assert len(set(rows.episode[looked_at])) == 40  # from everywhere
    assert result.r2 > 0.999
    assert result.num_train_rows + result.num_test_rows < 500


def test_a_function_of_its_seed():
    rows = some_episodes(20)
    random = np.random.default_rng(1)
    table = values_of(rows)[:, None] + random.normal(size=(len(rows.reward), 2))
    results = [
        probe_values(looked_up(table), rows, discount=DISCOUNT, seed=seed) for seed in (0, 0, 1)
    ]
    assert results[0] == results[1]
    assert results[0].num_test_rows != results[2].num_test_rows


def test_nine_episodes_are_too_few():
    rows = some_episodes(9)
    table = np.zeros((len(rows.reward), 1), np.float32)
    with pytest.raises(UserError) as error:
        probe_values(looked_up(table), rows, discount=DISCOUNT)
    assert str(error.value) == (
        "probe: 9 episodes with known returns, expected 10 or more; collect more steps"
    )
    # Five that do not end are none: of a cut after 19 steps, nothing is known.
    rows = make_rows([19] * 5, np.arange(95) % 2, ["truncated"] * 5)
    with pytest.raises(UserError, match=r"^probe: 0 episodes with known returns, expected 10"):
        probe_values(looked_up(table), rows, discount=DISCOUNT)


@pytest.mark.parametrize("max_rows", [50_000, 2])
def test_values_that_do_not_vary(max_rows):
    # No rewards at all; or so few rows that a part of the episodes has none.
    rows = some_episodes(10)
    if max_rows == 50_000:
        rows = rows._replace(reward=np.zeros_like(rows.reward))
    table = np.ones((len(rows.reward), 1), np.float32)
    with pytest.raises(UserError) as error:
        probe_values(looked_up(table), rows, discount=DISCOUNT, max_rows=max_rows)
    assert str(error.value) == "probe: the values do not vary (no rewards?); collect more steps"


def test_resamples_without_variance_do_not_count():
    # Every fourth resample draws only the first episode, in which there is nothing to explain.
    random = np.random.default_rng(0)
    episode = np.repeat([0, 1], 50)
    target = np.append(np.zeros(50), random.normal(size=50))
    prediction = target + random.normal(size=100) / 2
    r2, low, high = r_squared_interval(episode, target, prediction)
    assert r2 == pytest.approx(r2_score(target, prediction))
    assert -1 < low <= r2 <= high < 1
