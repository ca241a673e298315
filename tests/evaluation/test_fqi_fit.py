"""Fits against scikit-learn, by hand, and on small problems whose values are known."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from pvn.errors import UserError
from pvn.evaluation.fqi_fit import HELD_OUT, FitRows, Heads, Plan, fit_fqi
from pvn.evaluation.gram import ReplayMoments
from pvn.evaluation.returns import compute_returns


def zeros(halves, columns, actions):
    return Heads(np.zeros((halves, columns, actions)), np.zeros((halves, actions)))


def some_rows(length=150, num_envs=4, columns=6, actions=3, seed=0, noise=0.5):
    """Features of different scales, and rewards linear in them plus noise; a replay's rows."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-1, 1, columns)
    features = random.normal(size=(length, num_envs, columns)) * scale + 1
    action = random.integers(actions, size=(length, num_envs))
    weights = random.normal(size=(actions, columns)) / scale / np.sqrt(columns)
    reward = np.sum(features * weights[action], axis=2) + noise * random.normal(size=action.shape)
    terminal = random.random(action.shape) < 0.1
    return {
        "features": features.astype(np.float32),
        "action": action.astype(np.int32),
        "reward": reward.astype(np.float32),
        "terminal": terminal,
        "truncated": ~terminal & (random.random(action.shape) < 0.05),
    }


def factorise(rows, half, actions):
    rows = rows | {"features": rows["features"].copy()}  # overwritten
    num_envs, columns = rows["features"].shape[1:]
    halves = int(half.max()) + 1
    return FitRows(rows, half, actions, ReplayMoments(halves * actions, columns, num_envs), 0)


def fifths(rows):
    """The half 0, and every fifth row held out."""
    count = np.arange(rows["action"].size).reshape(rows["action"].shape)
    return np.where(count % 5 == 0, HELD_OUT, 0)


def q(head, features):
    return features @ head[0] + head[1]


def slow_fit(rows, half, actions, plan, head):
    """One head, by scikit-learn in float64. Returns the head, the R^2 and the penalty."""
    x, action = rows["features"].astype(np.float64), rows["action"]
    usable = compute_returns(rows, plan.discount, 1).usable
    fitted, held_out = usable & (half == 0), usable & (half == HELD_OUT)
    scaler = StandardScaler().fit(x[fitted])
    envs = np.arange(x.shape[1])[None]
    for number in range(plan.start != "monte_carlo", plan.sweeps + 1):
        values = q(head, x)
        taken = np.take_along_axis(values, action[..., None], 2)[..., 0]
        returns = compute_returns(rows, plan.discount, plan.n_step if number else None)
        value = values.max(axis=2) if number else taken
        targets = returns.reward + returns.discount * value[returns.at, envs]
        targets = np.clip(targets, -plan.bound, plan.bound)
        if number and plan.max_residual:
            step = np.clip(targets - taken, -plan.max_residual, plan.max_residual)
            goals = taken + step
        else:
            goals = targets
        tried = []
        for penalty in plan.penalties:
            kernel, bias = np.zeros((x.shape[2], actions)), np.zeros(actions)
            for a in range(actions):
                at = fitted & (action == a)
                z, y = scaler.transform(x[at]), goals[at]
                prior = head[0][:, a] * scaler.scale_ if plan.prior == "previous" else 0 * z[0]
                # Ridge regression of what the prior leaves, as w = prior + the difference.
                fit = Ridge(alpha=penalty * at.sum(), solver="svd").fit(z, y - z @ prior)
                kernel[:, a] = (fit.coef_ + prior) / scaler.scale_
                bias[a] = fit.intercept_ - scaler.mean_ @ kernel[:, a]
            predicted = np.take_along_axis(q((kernel, bias), x), action[..., None], 2)[..., 0]
            error = np.mean(np.square(predicted - goals)[held_out])
            tried.append((error, penalty, (kernel, bias)))
        error, chosen, head = min(tried, key=lambda t: t[0])
    predicted = np.take_along_axis(q(head, x), action[..., None], 2)[..., 0]
    error = np.mean(np.square(predicted - targets)[held_out])
    return head, 1 - error / targets[held_out].var(), chosen


@pytest.mark.parametrize(
    "plan",
    [
        Plan(sweeps=0),
        Plan(sweeps=1, n_step=2),
        Plan(sweeps=1, n_step=3, start="previous"),
        Plan(sweeps=4, n_step=1, prior="previous"),
        Plan(sweeps=5, n_step=2, start="previous", max_residual=0.5, penalties=(0.1,)),
        Plan(sweeps=3, bound=1.5),
        Plan(sweeps=12),
    ],
)
def test_scikit_learns_ridge_regressions(plan):
    plan = plan._replace(discount=0.7, penalties=plan.penalties[::3])
    rows = some_rows()
    half = fifths(rows)
    random = np.random.default_rng(1)
    previous = Heads(random.normal(size=(1, 6, 3)) / 9, random.normal(size=(1, 3)))
    fit = fit_fqi(factorise(rows, half, 3), plan, previous)
    first = previous.kernel[0], previous.bias[0]
    (kernel, bias), r2, penalty = slow_fit(rows, half, 3, plan, first)
    np.testing.assert_allclose(
        q((fit.heads.kernel[0], fit.heads.bias[0]), rows["features"]),
        q((kernel, bias), rows["features"]),
        rtol=1e-4, atol=2e-4,
    )  # fmt: skip
    assert fit.penalty == penalty
    np.testing.assert_allclose(fit.held_out_r2, r2, rtol=1e-3, atol=1e-4)
    assert (fit.bounded_share > 0) == (plan.bound == 1.5)


@pytest.mark.parametrize(("noise", "length", "best"), [(0.02, 150, 1e-6), (20.0, 30, 1.0)])
def test_the_penalty_is_the_one_that_predicts_held_out_rows_best(noise, length, best):
    rows = some_rows(length=length, columns=12, noise=noise)
    half = fifths(rows)
    for penalties in ((1e-6, 1.0), (1.0, 1e-6)):
        plan = Plan(sweeps=2, discount=0.1, penalties=penalties)
        assert fit_fqi(factorise(rows, half, 3), plan, zeros(1, 12, 3)).penalty == best


def test_held_out_rows_are_not_fitted():
    rows = some_rows()
    half = fifths(rows)
    plan = Plan(sweeps=0, discount=0.0, penalties=(1e-3,))
    fit = fit_fqi(factorise(rows, half, 3), plan, zeros(1, 6, 3))
    other = rows | {"reward": np.where(half == HELD_OUT, rows["reward"] + 5, rows["reward"])}
    changed = fit_fqi(factorise(other, half, 3), plan, zeros(1, 6, 3))
    np.testing.assert_array_equal(fit.heads.kernel, changed.heads.kernel)
    assert changed.held_out_r2 < fit.held_out_r2
    other = rows | {"reward": np.where(half == HELD_OUT, rows["reward"], rows["reward"] + 5)}
    changed = fit_fqi(factorise(other, half, 3), plan, zeros(1, 6, 3))
    np.testing.assert_allclose(changed.heads.bias, fit.heads.bias + 5, rtol=1e-3)


def test_one_set_of_rows_serves_many_plans():
    rows = some_rows()
    once = factorise(rows, fifths(rows), 3)
    plans = [Plan(k, discount=g, n_step=n) for k in (0, 2) for g in (0.5, 0.9) for n in (1, 4)]
    for plan in plans:
        anew = factorise(rows, fifths(rows), 3)
        one, other = (fit_fqi(r, plan, zeros(1, 6, 3)) for r in (once, anew))
        np.testing.assert_array_equal(one.heads.kernel, other.heads.kernel)
        assert one[1:] == other[1:]


def one_hot_game(lines, states):
    """Rows of environments that each play one line [(state, action, reward), ...] to its end."""
    length = max(map(len, lines))
    shape = (length, len(lines))
    rows = {
        "features": np.zeros((*shape, states), np.float32),
        "action": np.zeros(shape, np.int32),
        "reward": np.zeros(shape, np.float32),
        "terminal": np.ones(shape, bool),  # rows after the end are games of one step in state 0
        "truncated": np.zeros(shape, bool),
    }
    rows["features"][..., 0] = 1
    for e, line in enumerate(lines):
        for t, (state, action, reward) in enumerate(line):
            rows["features"][t, e] = np.eye(states)[state]
            rows["action"][t, e], rows["reward"][t, e] = action, reward
            rows["terminal"][t, e] = t == len(line) - 1
    return rows


TINY = (1e-9,)  # a penalty that leaves the means of one-hot states as they are


def test_monte_carlo_values_by_hand():
    # State 1 is followed by state 2 with reward 4 or 0; gamma is 1/2.
    lines = [[(1, 0, 1.0), (2, 0, 4.0)], [(1, 0, 3.0), (2, 0, 0.0)]]
    rows = one_hot_game(lines * 2, 3)
    half = np.array([[0, 0, HELD_OUT, HELD_OUT]] * 2)
    plan = Plan(sweeps=0, discount=0.5, penalties=TINY)
    fit = fit_fqi(factorise(rows, half, 1), plan, zeros(1, 3, 1))
    head = fit.heads.kernel[0], fit.heads.bias[0]
    np.testing.assert_allclose(q(head, np.eye(3))[1:, 0], [(3 + 3) / 2, 2], rtol=1e-5)


def test_an_episode_that_has_not_ended_goes_on_as_the_previous_heads_say():
    # The action that was taken, 0, is worth 6; action 1 would be worth 100.
    rows = one_hot_game([[(1, 0, 1.0), (2, 0, 4.0)], [(2, 0, 0.0)], [(1, 0, 1.0)]], 3)
    rows["terminal"][1, 0] = False
    half = np.array([[0, 0, HELD_OUT]] * 2)
    previous = Heads(np.array([[[0.0, 0], [0, 0], [6, 100]]]), np.zeros((1, 2)))
    plan = Plan(sweeps=0, discount=0.5, penalties=TINY)
    fit = fit_fqi(factorise(rows, half, 2), plan, previous)
    value = q((fit.heads.kernel[0], fit.heads.bias[0]), np.eye(3)[1])
    np.testing.assert_allclose(value[0], 1 + 0.5 * 6, rtol=1e-5)


def test_the_first_fit_values_an_episode_that_has_not_ended_by_itself():
    # In the second environment, state 2 ends the game with 6.
    rows = one_hot_game([[(1, 0, 1.0), (2, 0, 4.0)], [(2, 0, 6.0)], [(1, 0, 1.0)]], 3)
    rows["terminal"][1, 0] = False
    half = np.array([[0, 0, HELD_OUT]] * 2)
    for previous, tail in ((None, 0.5 * 6), (zeros(1, 3, 1), 0)):
        plan = Plan(sweeps=0, discount=0.5, penalties=TINY)
        fit = fit_fqi(factorise(rows, half, 1), plan, previous)
        value = q((fit.heads.kernel[0], fit.heads.bias[0]), np.eye(3)[1])
        np.testing.assert_allclose(value[0], 1 + tail, rtol=1e-5)


# In state 1, both actions end the game. Half 0 saw rewards 2 and -2, half 1 saw -1 and 1.
# State 0 leads to state 1 without a reward.
HALVES = [
    [(0, 0, 0.0), (1, 0, 2.0)],
    [(0, 0, 0.0), (1, 1, -2.0)],
    [(0, 0, 0.0), (1, 0, -1.0)],
    [(0, 0, 0.0), (1, 1, 1.0)],
]


@pytest.mark.parametrize(
    ("double", "value"),
    [
        (False, max((2 - 1) / 2, (-2 + 1) / 2)),  # the maximum of noise is above its mean
        (True, (-1 + -2) / 2),  # head 0 takes action 0, worth -1 in half 1; head 1 action 1, -2
    ],
)
def test_double_estimation_by_hand(double, value):
    rows = one_hot_game([*HALVES, HALVES[0]], 2)
    half = np.array([[0, 0, int(double), int(double), HELD_OUT]] * 2)
    plan = Plan(sweeps=1, discount=0.9, penalties=TINY)
    fit = fit_fqi(factorise(rows, half, 2), plan, zeros(1 + double, 2, 2))
    kernel, bias = fit.heads.kernel.mean(0), fit.heads.bias.mean(0)
    np.testing.assert_allclose((kernel[0] + bias)[0], 0.9 * value, rtol=1e-4)


def test_double_estimation_removes_the_bias_of_the_maximum():
    """10 actions worth 0; the largest of 10 means of 4 normal rewards is 1.54 / 2 on average."""
    estimates = {False: [], True: []}
    for seed in range(12):
        reward = np.random.default_rng(seed).normal(size=80)
        lines = [[(0, 0, 0.0), (1, n % 10, float(reward[n]))] for n in range(40)]
        for double, found in estimates.items():
            rows = one_hot_game([*lines, lines[0]], 2)
            half = np.array([[*(int(double) * (n // 10 % 2) for n in range(40)), HELD_OUT]] * 2)
            plan = Plan(sweeps=1, discount=0.9, penalties=TINY)
            fit = fit_fqi(factorise(rows, half, 10), plan, zeros(1 + double, 2, 10))
            found.append(fit.heads.kernel.mean(0)[0, 0] + fit.heads.bias.mean(0)[0])
    assert np.mean(estimates[False]) > 0.5 * 0.9
    assert abs(np.mean(estimates[True])) < 0.2


def test_optimal_values_of_a_small_mdp():
    """6 states, 3 actions, two equally likely successors each; one successor may end the game."""
    states, actions, gamma = 6, 3, 0.9
    random = np.random.default_rng(3)
    successor = random.integers(states, size=(states, actions, 2))
    reward = random.normal(size=(states, actions, 2))
    ended = random.random((states, actions, 2)) < 0.15
    assert ended.any()
    optimal = np.zeros((states, actions))
    for _ in range(400):
        later = gamma * ~ended * optimal.max(axis=1)[successor]
        optimal = np.mean(reward + later, axis=2)
    # Each outcome is an environment of two timesteps, fitted once and held out once.
    state, action, outcome, copy = (index.ravel() for index in np.indices((states, actions, 2, 2)))
    now = state, action, outcome
    one_hot = np.eye(states, dtype=np.float32)
    rows = {
        "features": np.stack([one_hot[state], one_hot[successor[now]]]),
        "action": np.stack([action, action]),
        "reward": np.stack([reward[now], 0 * reward[now]]),
        "terminal": np.stack([ended[now], np.zeros(len(state), bool)]),
        "truncated": np.zeros((2, len(state)), bool),
    }
    half = np.where(copy, HELD_OUT, 0)[None].repeat(2, axis=0)
    bound = float(np.abs(reward).max() / (1 - gamma))
    plan = Plan(sweeps=200, discount=gamma, penalties=(1e-7,), bound=bound)
    fit = fit_fqi(factorise(rows, half, actions), plan, zeros(1, states, actions))
    learned = q((fit.heads.kernel[0], fit.heads.bias[0]), one_hot)
    np.testing.assert_allclose(learned, optimal, atol=1e-4)
    assert fit.change < 1e-5
    assert (fit.bounded_share, fit.diverged) == (0, False)


def line(*transitions):
    """One action, one feature. Each (feature, reward, next feature) is fitted and held out."""
    x, reward, later = np.array(transitions * 2, np.float32).T
    shape = (2, len(x))
    rows = {
        "features": np.stack([x, later])[..., None],
        "action": np.zeros(shape, np.int32),
        "reward": np.stack([reward, 0 * reward]),
        "terminal": np.zeros(shape, bool),
        "truncated": np.zeros(shape, bool),
    }
    half = np.where(np.arange(len(x)) < len(transitions), 0, HELD_OUT)[None].repeat(2, axis=0)
    return factorise(rows, half, 1)


# After Tsitsiklis and Van Roy (1996): the successor looks like three times the state, so the
# fitted slope w becomes 0.9 * 3 w in each sweep, though every true value is at most 1.
# Feature 0 leads to itself with reward 0; feature 1 leads to feature 3 with reward 0.1.
DIVERGES = [(0, 0, 0), (1, 0.1, 3)]


@pytest.mark.parametrize("sign", [1, -1])  # there is one action: the maximum is its value
@pytest.mark.parametrize(
    ("sweeps", "slope", "share"),
    [
        (1, 0.1, 0),
        (2, 0.1 + 2.7 * 0.1, 0),
        (3, 1, 0.5),  # 0.1 + 2.7 * 0.37 = 1.099, clipped to the bound
        (50, 1, 0.5),
    ],
)
def test_divergence_is_bounded_and_reported(sweeps, slope, share, sign):
    rows = line(*[(x, sign * reward, later) for x, reward, later in DIVERGES])
    plan = Plan(sweeps, "previous", bound=1.0, discount=0.9, penalties=(1e-12,))
    fit = fit_fqi(rows, plan, zeros(1, 1, 1))
    np.testing.assert_allclose(fit.heads.kernel, [[[sign * slope]]], rtol=1e-5)
    np.testing.assert_allclose(fit.heads.bias, [[0]], atol=1e-6)
    assert fit.bounded_share == share
    assert fit.diverged is (share > 0)


def test_monte_carlo_values_do_not_diverge_where_sweeps_do():
    plan = Plan(0, bound=1.0, discount=0.9, penalties=(1e-12,))
    fit = fit_fqi(line(*DIVERGES), plan, zeros(1, 1, 1))
    np.testing.assert_allclose(fit.heads.kernel, [[[0.1]]], rtol=1e-5)
    assert not fit.diverged


@pytest.mark.parametrize(("sweeps", "slope"), [(1, 0.02), (2, 0.04), (3, 0.06)])
def test_residuals_are_clipped(sweeps, slope):
    # The targets are 0.1 and more; each sweep goes 0.02 towards them.
    plan = Plan(sweeps, "previous", max_residual=0.02, discount=0.9, penalties=(1e-12,))
    fit = fit_fqi(line(*DIVERGES), plan, zeros(1, 1, 1))
    np.testing.assert_allclose(fit.heads.kernel, [[[slope]]], rtol=1e-4)


def test_few_targets_at_the_bound_are_no_divergence():
    # 4 of 400 targets are the 1 % that may be clipped; 5 are more.
    for number, diverged in ((4, False), (5, True)):
        rows = some_rows(100, 4, 2, 1, noise=0)
        rows["terminal"][:], rows["truncated"][:] = True, False
        rows["reward"] = np.clip(rows["reward"], -1, 1)
        rows["reward"].reshape(-1)[:number] = 2.5
        fit = fit_fqi(factorise(rows, fifths(rows), 1), Plan(0, bound=2.0), zeros(1, 2, 1))
        assert fit.bounded_share == number / 400
        assert fit.diverged is diverged


def test_without_rewards_there_is_nothing_to_predict():
    rows = some_rows()
    rows["reward"][:] = 0
    assert fit_fqi(factorise(rows, fifths(rows), 3), Plan(1), zeros(1, 6, 3)).held_out_r2 == 0


def test_an_action_that_was_never_taken_has_value_zero():
    rows = some_rows(actions=2)
    fit = fit_fqi(factorise(rows, fifths(rows), 3), Plan(2), zeros(1, 6, 3))
    assert not fit.heads.kernel[0, :, 2].any()
    assert fit.heads.bias[0, 2] == 0
    assert fit.heads.kernel[0, :, :2].all()
    assert np.isfinite(fit.held_out_r2)


@pytest.mark.parametrize(("value", "said"), [(1e25, "1e+25"), (np.inf, "inf"), (np.nan, "nan")])
def test_features_whose_squares_overflow_are_refused(value, said):
    rows = some_rows()
    rows["features"][7, 2, 1] = value
    message = f"fqi: features are as large as {said}, so that their squares overflow"
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        factorise(rows, fifths(rows), 3)
