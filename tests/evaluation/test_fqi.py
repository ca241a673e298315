import numpy as np
import pytest

from pvn.errors import UserError
from pvn.evaluation.fqi import FqiLearner, FqiSettings, fit_fqi
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.replay import FeatureReplay
from pvn.types import Interaction


def some_interactions(rows, columns, num_actions, seed=0, noise=1.0, discount=0.6):
    """Random interactions: features of different scales, and rewards linear in them plus noise."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-1, 1, columns)
    features_tm1 = (random.normal(size=(rows, columns)) * scale + 1).astype(np.float32)
    features_t = (random.normal(size=(rows, columns)) * scale + 1).astype(np.float32)
    action = random.integers(num_actions, size=rows).astype(np.int32)
    weights = random.normal(size=(num_actions, columns)) / scale / np.sqrt(columns)
    reward = np.sum(features_tm1 * weights[action], axis=1) + noise * random.normal(size=rows)
    ended = random.random(rows) < 0.1
    return Interaction(
        features_tm1=features_tm1,
        a_tm1=action,
        r_t=reward.astype(np.float32),
        discount_t=np.where(ended, 0, discount).astype(np.float32),
        features_t=features_t,
    )


def dense_ridge(features, targets, penalty):
    """(weights, intercept) for raw features: least squares with rows of sqrt(M penalty) I."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    rows, columns = features.shape
    system = np.zeros((rows + columns, columns + 1))
    system[:rows, :columns] = (features - mean) / scale
    system[:rows, columns] = 1
    system[rows:, :columns] = np.sqrt(rows * penalty) * np.eye(columns)
    solution = np.linalg.lstsq(system, np.append(targets, np.zeros(columns)), rcond=None)[0]
    weights = solution[:columns] / scale
    return weights, solution[columns] - weights @ mean


def q(head, features):
    return features @ head[0] + head[1]


def slow_fqi(batch, held_out, num_actions, bound, num_iterations, penalties):
    """A slow reference in float64. Also returns the penalty that each iteration chose."""
    x, later, reward, discount = (
        np.asarray(field, np.float64)
        for field in (batch.features_tm1, batch.features_t, batch.r_t, batch.discount_t)
    )
    head = np.zeros((x.shape[1], num_actions)), np.zeros(num_actions)
    targets, chosen = np.zeros(len(x)), []
    for _ in range(num_iterations):
        previous = targets
        unbounded = reward + discount * q(head, later).max(axis=1)
        targets = np.clip(unbounded, -bound, bound)
        tried = []
        for penalty in penalties:
            columns = []
            for action in range(num_actions):
                rows = ~held_out & (batch.a_tm1 == action)
                columns.append(dense_ridge(x[rows], targets[rows], penalty))
            trial = np.stack([w for w, _ in columns], axis=1), np.array([b for _, b in columns])
            predictions = q(trial, x)[np.arange(len(x)), batch.a_tm1]
            tried.append((np.mean(np.square(predictions - targets)[held_out]), penalty, trial))
        error, penalty, head = min(tried, key=lambda t: t[0])
        chosen.append(penalty)
    change = np.sqrt(np.mean(np.square(targets - previous))) / targets.std()
    share = np.mean(np.abs(unbounded) > bound)
    return head, 1 - error / targets[held_out].var(), change, share, chosen


@pytest.mark.parametrize("num_iterations", [1, 2, 15])
@pytest.mark.parametrize("penalty", [1e-4, 0.3])
def test_dense_least_squares(penalty, num_iterations):
    batch = some_interactions(600, 8, 3)
    held_out = np.random.default_rng(1).random(600) < 0.2
    fit = fit_fqi(
        batch, held_out, 3, bound=1e3, num_iterations=num_iterations, penalties=np.array([penalty])
    )
    (kernel, bias), r2, change, share, _ = slow_fqi(
        batch, held_out, 3, 1e3, num_iterations, [penalty]
    )
    assert fit.head.kernel.dtype == fit.head.bias.dtype == np.float32
    scale = batch.features_tm1.std(axis=0)[:, None]
    np.testing.assert_allclose(fit.head.kernel * scale, kernel * scale, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fit.head.bias, bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fit.held_out_r2, r2, rtol=1e-4)
    np.testing.assert_allclose(fit.change, change, rtol=1e-3, atol=1e-6)
    assert fit.penalty == penalty
    assert fit.bounded_share == share == 0
    assert fit.diverged is False


@pytest.mark.parametrize(
    ("noise", "discount", "rows", "best"), [(0.02, 0.1, 600, 1e-6), (8.0, 0.6, 150, 1.0)]
)
def test_the_penalty_is_the_one_that_predicts_held_out_interactions_best(
    noise, discount, rows, best
):
    batch = some_interactions(rows, 12, 2, noise=noise, discount=discount)
    held_out = np.arange(rows) % 4 == 0
    penalties = [1e-6, 1.0]
    (kernel, bias), r2, _, _, chosen = slow_fqi(batch, held_out, 2, 1e3, 6, penalties)
    assert chosen[-1] == best  # otherwise this case tests nothing
    for order in (penalties, penalties[::-1]):
        fit = fit_fqi(batch, held_out, 2, bound=1e3, num_iterations=6, penalties=np.array(order))
        assert fit.penalty == best
        np.testing.assert_allclose(fit.held_out_r2, r2, rtol=1e-3)
        np.testing.assert_allclose(
            fit.head.kernel, kernel, rtol=1e-3, atol=1e-3 * np.abs(kernel).max()
        )
        np.testing.assert_allclose(fit.head.bias, bias, rtol=1e-3, atol=1e-3)


def test_held_out_interactions_are_not_fitted():
    batch = some_interactions(300, 5, 2)
    held_out = np.arange(300) % 3 == 0
    arguments = {"bound": 1e3, "num_iterations": 3, "penalties": np.array([1e-3])}
    fit = fit_fqi(batch, held_out, 2, **arguments)
    other = batch._replace(r_t=np.where(held_out, batch.r_t + 5, batch.r_t))
    changed = fit_fqi(other, held_out, 2, **arguments)
    np.testing.assert_array_equal(fit.head.kernel, changed.head.kernel)
    np.testing.assert_array_equal(fit.head.bias, changed.head.bias)
    assert changed.held_out_r2 < fit.held_out_r2
    other = batch._replace(r_t=np.where(held_out, batch.r_t, batch.r_t + 5))
    assert not np.allclose(fit_fqi(other, held_out, 2, **arguments).head.bias, fit.head.bias)


def test_iterations_can_be_continued():
    batch = some_interactions(300, 5, 3)
    held_out = np.arange(300) % 5 == 0
    arguments = {"bound": 1e3, "penalties": np.array([1e-3])}
    first = fit_fqi(batch, held_out, 3, num_iterations=2, **arguments)
    second = fit_fqi(batch, held_out, 3, num_iterations=3, start=first.head, **arguments)
    whole = fit_fqi(batch, held_out, 3, num_iterations=5, **arguments)
    np.testing.assert_array_equal(second.head.kernel, whole.head.kernel)
    np.testing.assert_array_equal(second.head.bias, whole.head.bias)


def test_optimal_values_of_a_small_mdp():
    """6 states, 3 actions, two equally likely successors each; one successor may end the game."""
    states, actions, gamma = 6, 3, 0.9
    random = np.random.default_rng(3)
    successor = random.integers(states, size=(states, actions, 2))
    reward = random.normal(size=(states, actions, 2))
    discount = np.where(random.random((states, actions, 2)) < 0.15, 0, gamma)
    assert (discount == 0).any()

    optimal = np.zeros((states, actions))
    for _ in range(400):
        optimal = np.mean(reward + discount * optimal.max(axis=1)[successor], axis=2)

    # Each transition is fitted once and held out once. Features are one-hot, so ridge regression
    # with a negligible penalty is the mean over the two outcomes.
    state, action, outcome, held_out = (
        index.ravel() for index in np.indices((states, actions, 2, 2))
    )
    one_hot = np.eye(states, dtype=np.float32)
    batch = Interaction(
        features_tm1=one_hot[state],
        a_tm1=action.astype(np.int32),
        r_t=reward[state, action, outcome].astype(np.float32),
        discount_t=discount[state, action, outcome].astype(np.float32),
        features_t=one_hot[successor[state, action, outcome]],
    )
    bound = np.abs(reward).max() / (1 - gamma)
    fit = fit_fqi(
        batch,
        held_out == 1,
        actions,
        bound=float(bound),
        num_iterations=200,
        penalties=np.array([1e-7]),
    )
    learned = one_hot @ fit.head.kernel + fit.head.bias
    np.testing.assert_allclose(learned, optimal, atol=1e-4)
    assert learned.argmax(axis=1).tolist() == optimal.argmax(axis=1).tolist()
    assert len(set(optimal.argmax(axis=1))) > 1
    assert fit.change < 1e-5
    assert fit.bounded_share == 0
    assert not fit.diverged


def line(*transitions):
    """One action, one feature. Each (feature, reward, next feature) is fitted and held out."""
    x, reward, later = np.array(transitions * 2, np.float32).T
    batch = Interaction(
        features_tm1=x[:, None],
        a_tm1=np.zeros(len(x), np.int32),
        r_t=reward,
        discount_t=np.full(len(x), 0.9, np.float32),
        features_t=later[:, None],
    )
    return batch, np.arange(len(x)) >= len(transitions)


# After Tsitsiklis and Van Roy (1996): the successor looks like three times the state, so the
# fitted slope w becomes 0.9 * 3 w in each iteration, though every true value is at most 1.
# Feature 0 leads to itself with reward 0; feature 1 leads to feature 3 with reward 0.1.
DIVERGES = [(0, 0, 0), (1, 0.1, 3)]


@pytest.mark.parametrize(
    ("num_iterations", "slope", "share"),
    [
        (1, 0.1, 0),
        (2, 0.1 + 2.7 * 0.1, 0),
        (3, 1, 0.5),  # 0.1 + 2.7 * 0.37 = 1.099, clipped to the bound
        (4, 1, 0.5),
        (50, 1, 0.5),
    ],
)
def test_divergence_is_bounded_and_reported(num_iterations, slope, share):
    batch, held_out = line(*DIVERGES)
    fit = fit_fqi(
        batch, held_out, 1, bound=1.0, num_iterations=num_iterations, penalties=np.array([1e-12])
    )
    np.testing.assert_allclose(fit.head.kernel, [[slope]], rtol=1e-5)
    np.testing.assert_allclose(fit.head.bias, [0], atol=1e-6)
    assert fit.bounded_share == share
    assert fit.diverged is (share > 0)


def test_the_bound_holds_on_both_sides():
    batch, held_out = line(*[(x, -reward, later) for x, reward, later in DIVERGES])
    # There is one action, so the maximum is its value, and only the signs change.
    fit = fit_fqi(batch, held_out, 1, bound=1.0, num_iterations=9, penalties=np.array([1e-12]))
    np.testing.assert_allclose(fit.head.kernel, [[-1]], rtol=1e-5)
    assert fit.diverged is True


def test_the_same_features_converge_on_data_of_the_policy():
    # If feature 3, where the game stays, is as frequent as under the policy, the slope converges.
    batch, held_out = line(*DIVERGES, *[(3, 0, 3)] * 20)
    fit = fit_fqi(batch, held_out, 1, bound=1.0, num_iterations=200, penalties=np.array([1e-12]))
    assert not fit.diverged
    assert fit.change < 1e-5


def test_few_targets_at_the_bound_are_no_divergence():
    # 4 of 400 targets are the 1 % that may be clipped; 5 are more.
    for number, diverged in ((4, False), (5, True)):
        batch = some_interactions(400, 2, 1, noise=0)
        reward = np.clip(batch.r_t, -1, 1)
        reward[:number] = 2.5
        batch = batch._replace(r_t=reward, discount_t=np.zeros(400, np.float32))
        fit = fit_fqi(batch, np.arange(400) % 2 == 0, 1, bound=2, num_iterations=1)
        assert fit.bounded_share == number / 400
        assert fit.diverged is diverged


def test_an_action_that_was_never_taken_has_value_zero():
    batch = some_interactions(200, 4, 2)
    held_out = np.arange(200) % 5 == 0
    fit = fit_fqi(batch, held_out, 3, bound=1e3, num_iterations=4)
    assert (fit.head.kernel[:, 2] == 0).all()
    assert fit.head.bias[2] == 0
    assert fit.head.kernel[:, :2].all()
    assert np.isfinite(fit.held_out_r2)


@pytest.mark.parametrize(
    "change",
    [
        {"a_tm1": np.zeros((50, 1), int)},
        {"r_t": np.zeros(49)},
        {"discount_t": np.zeros((50, 1))},
        {"features_t": np.zeros((50, 3))},
    ],
)
def test_wrong_shapes_are_refused(change):
    batch, held_out = some_interactions(50, 4, 2), np.arange(50) % 5 == 0
    with pytest.raises(AssertionError):
        fit_fqi(batch._replace(**change), held_out, 2, bound=1, num_iterations=1)
    with pytest.raises(AssertionError):
        fit_fqi(batch, held_out[:40], 2, bound=1, num_iterations=1)


@pytest.mark.parametrize(("value", "said"), [(1e25, "1e+25"), (np.inf, "inf"), (np.nan, "nan")])
def test_features_whose_squares_overflow_are_refused(value, said):
    batch = some_interactions(50, 4, 2)
    batch.features_tm1[7, 2] = value
    message = f"fqi: features are as large as {said}, so that their squares overflow"
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        fit_fqi(batch, np.arange(50) % 5 == 0, 2, bound=1, num_iterations=1)


def learner(iterations):
    context = LearnerContext(
        num_features=1, num_actions=1, num_envs=2, discount=0.9, n_step=1, clip_rewards=True,
        learn_after=20, seed=0,
    )  # fmt: skip
    return FqiLearner(context, FqiSettings(refit_every=50, iterations=iterations))


def diverging_replay():
    """The interactions of `DIVERGES`: environment 0 goes from feature 1 to 3, 1 stays at 0."""
    replay = FeatureReplay(100, 2, 1, n_step=1, discount=0.9)
    action, terminal = np.zeros(2, np.int32), np.zeros(2, bool)
    for number in range(90):
        second = number % 2 == 1
        features = np.array([[3.0 if second else 1.0], [0.0]])
        reward = np.array([0.1, 0])
        replay.add(features, action, reward, terminal, np.array([second, False]))
    return replay


def test_fits_fall_due_at_multiples_of_refit_every():
    replay, one = diverging_replay(), learner(iterations=1)
    assert not one.head.kernel.any()
    fitted = [step for step in range(2, 202, 2) if one.learn(replay, step)]
    assert fitted == [20, 50, 100, 150, 200]
    assert one.finish(replay, 200) == {}  # the fit was already made


def test_a_fit_that_diverged_is_not_used():
    # With one more regression, the slopes are those of the table above. The bound is 1 / (1 - 0.9).
    replay, one = diverging_replay(), learner(iterations=2)
    metrics = one.learn(replay, 20)
    assert set(metrics) == {"held_out_r2", "penalty", "change", "bounded_share", "diverged"}
    assert (metrics["diverged"], one.num_fits, one.diverged_fits) == (0, 1, 0)
    fitted = one.head
    np.testing.assert_allclose(fitted.kernel, [[0.37]], rtol=1e-4)
    # From there, 0.1 + 2.7 w exceeds 10 after four more regressions.
    for step, diverged_fits in ((50, 0), (100, 1), (150, 1)):
        metrics = one.learn(replay, step)
        assert metrics["diverged"] == (one.diverged_fits > 0)
        assert one.diverged_fits >= diverged_fits
    assert one.num_fits == 2
    assert one.head is not fitted
    np.testing.assert_allclose(one.head.kernel, [[0.1 + 2.7 * (0.1 + 2.7 * 0.37)]], rtol=1e-4)
    kept = one.head
    assert one.finish(replay, 160)["diverged"] == 1
    assert one.head is kept
