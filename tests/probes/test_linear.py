import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import r2_score

from pvn.errors import UserError
from pvn.probes.linear import probe
from pvn.probes.value import ValueTarget
from pvn.ridge import PENALTIES
from tests.datasets import as_dataset, looked_up, make_rows

DISCOUNT = 0.8


def some_episodes(count, seed=0, longest=60):
    random = np.random.default_rng(seed)
    lengths = random.integers(20, longest, count).tolist()
    return make_rows(lengths, random.integers(-1, 2, sum(lengths)))


def values_of(rows, clip=True):
    return ValueTarget(DISCOUNT, clip).targets(as_dataset(rows))[0]


def probe_values(features, rows, clip=True, **options):
    targets = ValueTarget(DISCOUNT, clip).targets(as_dataset(rows))
    return probe(features, rows, *targets, **options)


def r2(result):
    return result.scores["r2"].value


def test_values_that_are_linear_in_a_feature():
    rows = some_episodes(30)
    noise = np.random.default_rng(1).normal(size=(len(rows.reward), 4))
    table = np.column_stack([3 - 0.01 * values_of(rows), noise]).astype(np.float32)
    seen = []
    result = probe_values(looked_up(table), rows, on_progress=seen.append)
    assert r2(result) > 0.999
    _, low, high = result.scores["r2"]
    assert 0.999 < low <= r2(result) <= high <= 1
    assert result.penalty < 1e-3
    # 30 episodes are split 18 : 6 : 6. Each row is mapped once.
    assert result.num_test_episodes == 6
    assert sum(seen) == len(rows.reward)
    assert len(seen) == -(-len(rows.reward) // 1024)
    assert 6 * 20 <= result.num_test_rows <= 6 * 59
    assert 18 * 20 <= result.num_train_rows <= 18 * 59
    assert result.num_train_rows + result.num_test_rows < len(rows.reward)


def test_noise_explains_nothing():
    rows = some_episodes(30)
    table = np.random.default_rng(1).normal(size=(len(rows.reward), 50)).astype(np.float32)
    result = probe_values(looked_up(table), rows)
    assert -0.2 < r2(result) < 0.02
    assert result.penalty >= 0.1  # validation episodes show that the weights are noise


def test_an_episode_does_not_predict_other_episodes():
    # All rewards of an episode are equal, so its number predicts the values, but only in an episode
    # of the train part.
    random = np.random.default_rng(0)
    lengths = [30] * 25
    of_episode = random.choice([-1.0, -0.5, 0.5, 1], size=25)
    rows = make_rows(lengths, np.repeat(of_episode, lengths))
    table = np.repeat(np.eye(25, dtype=np.float32), lengths, axis=0)
    values = values_of(rows)
    fitted = np.linalg.lstsq(table.astype(float), values, rcond=None)[0]
    assert r2_score(values, table @ fitted) > 0.9
    for seed in range(5):
        result = probe_values(looked_up(table), rows, seed=seed)
        assert r2(result) <= 0.01


def test_the_penalty_is_chosen_and_needed():
    # Few rows, and one useful feature among many: a fit without a penalty would overfit.
    rows = some_episodes(15, longest=30)
    random = np.random.default_rng(1)
    useful = values_of(rows) + 0.3 * random.normal(size=len(rows.reward))
    table = np.column_stack([useful, random.normal(size=(len(useful), 200))]).astype(np.float32)
    result = probe_values(looked_up(table), rows)
    assert result.penalty in PENALTIES
    assert 0.01 < result.penalty < 100
    assert r2(result) > 0.3


def test_rewards_are_clipped_if_asked():
    rows = some_episodes(30)
    rows = rows._replace(reward=rows.reward * np.where(np.arange(len(rows.reward)) % 3, 1, 20))
    clipped, raw = (values_of(rows, clip)[:, None] for clip in (True, False))
    for table, clip_rewards, good in (
        (clipped, True, True), (raw, True, False), (raw, False, True), (clipped, False, False)
    ):  # fmt: skip
        result = probe_values(looked_up(table), rows, clip=clip_rewards)
        assert (r2(result) > 0.999) == good


def test_rows_without_a_stack_do_not_count():
    rows = some_episodes(20)
    starts = np.flatnonzero(np.diff(rows.episode, prepend=rows.episode[0] - 1))
    rows.cut_start[starts[::2]] = True
    without = np.concatenate([starts[::2] + row for row in range(3)])
    table = values_of(rows).astype(np.float32)[:, None]
    table[without] = 1e6
    seen = []
    result = probe_values(looked_up(table), rows, on_progress=seen.append)
    assert r2(result) > 0.999
    assert sum(seen) == len(rows.reward) - len(without)


def test_only_rows_with_known_values_count():
    # The values of the last rows of truncated episodes are not known: 0.8^20 > 0.01 > 0.8^21.
    rows = some_episodes(20)
    last = np.flatnonzero(rows.terminal)
    cut = last[::2]
    rows.terminal[cut], rows.truncated[cut] = False, True
    values, known = ValueTarget(DISCOUNT).targets(as_dataset(rows))
    assert 0 < np.sum(~known) == 20 * len(cut)
    table = np.where(known, values, 1e6).astype(np.float32)[:, None]
    seen = []
    result = probe_values(looked_up(table), rows, on_progress=seen.append)
    assert r2(result) > 0.999
    assert sum(seen) == np.sum(known)


def test_max_rows():
    rows = some_episodes(40)
    table = values_of(rows)[:, None]
    looked_at = []

    def features(observation):
        newest = observation[:, 0, :, -1].astype(int)
        looked_at.extend((newest[:, 0] * 256 + newest[:, 1]).tolist())
        return looked_up(table)(observation)

    result = probe_values(features, rows, max_rows=500)
    assert len(looked_at) == len(set(looked_at)) == 500
    assert len(set(rows.episode[looked_at])) == 40  # from all episodes
    assert r2(result) > 0.999
    assert result.num_train_rows + result.num_test_rows < 500


def test_the_result_depends_on_the_seed():
    rows = some_episodes(20)
    random = np.random.default_rng(1)
    table = values_of(rows)[:, None] + random.normal(size=(len(rows.reward), 2))
    results = [probe_values(looked_up(table), rows, seed=seed) for seed in (0, 0, 1)]
    assert results[0] == results[1]
    assert results[0].num_test_rows != results[2].num_test_rows


def test_nine_episodes_are_too_few():
    rows = some_episodes(9)
    table = np.zeros((len(rows.reward), 1), np.float32)
    with pytest.raises(UserError) as error:
        probe_values(looked_up(table), rows)
    assert str(error.value) == (
        "probe: 9 episodes with known targets, expected 10 or more; collect more steps"
    )
    # Five episodes do not count: they are cut after 19 steps, so none of their values is known.
    rows = make_rows([19] * 5, np.arange(95) % 2, ["truncated"] * 5)
    with pytest.raises(UserError, match=r"^probe: 0 episodes with known targets, expected 10"):
        probe_values(looked_up(table), rows)


def test_targets_that_do_not_vary():
    rows = some_episodes(10)
    rows = rows._replace(reward=np.zeros_like(rows.reward))
    table = np.ones((len(rows.reward), 1), np.float32)
    with pytest.raises(UserError) as error:
        probe_values(looked_up(table), rows)
    assert str(error.value) == ("probe: the targets do not vary (no rewards?); collect more steps")


def test_so_few_rows_that_a_part_has_none():
    rows = some_episodes(10)
    table = np.ones((len(rows.reward), 1), np.float32)
    with pytest.raises(UserError) as error:
        probe_values(looked_up(table), rows, max_rows=2)
    assert str(error.value) == (
        "probe: 2 rows leave a part of the episodes without any; use more rows"
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite(bad):
    rows = some_episodes(20)
    table = np.random.default_rng(1).normal(size=(len(rows.reward), 3)).astype(np.float32)
    table[77, 1] = bad
    with pytest.raises(UserError) as error:
        probe_values(looked_up(table), rows)
    assert str(error.value) == (
        "probe: the features of row 77 of the dataset are not finite; did pretraining diverge?"
    )


def test_features_too_large_for_their_squares():
    rows = some_episodes(20)
    table = np.random.default_rng(1).normal(size=(len(rows.reward), 3)).astype(np.float32)
    with pytest.raises(UserError, match="features are not finite or too large for float32"):
        probe_values(looked_up(table * np.float32(1e30)), rows)
    # Only in one episode. If it is a test episode, the score is very low.
    outcomes = set()
    for episode in range(20):
        large = table.copy()
        large[rows.episode == episode] *= np.float32(1e30)
        try:
            result = probe_values(looked_up(large), rows)
        except UserError as error:
            outcomes.add("too large" in str(error))
        else:
            assert -np.inf < r2(result) < -1e30
            outcomes.add(result.num_test_episodes)
    assert outcomes == {True, 4}


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_sums_of_half_precision_do_not_overflow(dtype):
    rows = some_episodes(20)
    values = 1e4 * values_of(rows)  # their sums are beyond 65,504, the largest of float16
    noise = np.random.default_rng(1).normal(size=(len(values), 3))
    table = np.column_stack([values / 1e4, noise]).astype(dtype)
    known = np.isfinite(values)
    exact = probe(looked_up(table.astype(np.float32)), rows, np.where(known, values, 0), known)
    half = probe(looked_up(table), rows, np.where(known, values, 0), known)
    assert r2(half) == r2(exact) > 0.99


@pytest.mark.parametrize(
    ("table", "form"),
    [
        (np.zeros(2000), r"float64 \[\d+\]"),
        (np.zeros((2000, 3, 1)), r"float64 \[\d+, 3, 1\]"),
        (np.zeros((2000, 3), int), r"int64 \[\d+, 3\]"),
    ],
)
def test_features_of_a_wrong_form(table, form):
    rows = some_episodes(20)
    text = rf"^probe: the features of \d+ states are {form}, expected float \[\d+, F\]$"
    with pytest.raises(UserError, match=text):
        probe_values(looked_up(table), rows)


def test_any_target():
    # The target is whether one of three actions was taken. It is known on every second row.
    rows = some_episodes(30)
    random = np.random.default_rng(1)
    target = random.integers(0, 3, len(rows.reward)).astype(np.float32)
    known = np.arange(len(target)) % 2 == 0
    table = np.column_stack([np.where(known, 2 * target + 1, 1e6), random.normal(size=len(target))])
    seen = []
    result = probe(
        looked_up(table.astype(np.float32)), rows, target, known, on_progress=seen.append
    )
    assert r2(result) > 0.999
    assert sum(seen) == known.sum()
