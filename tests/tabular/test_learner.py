"""The train step of Atari, compared with the closed forms of exact MDPs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pvn.errors import UserError
from pvn.indicators.indicator import Indicator
from pvn.indicators.random_network import RandomNetwork
from pvn.indicators.state_sets import random_sets, state_equality
from pvn.indicators.tasks import Tasks
from pvn.indicators.threshold import indicator as is_on
from pvn.learning.objectives import successor_objective
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.learning.train_step import (
    average_target,
    init_train_state,
    make_train_step,
)
from pvn.networks.network import Network
from pvn.networks.proto_value import make_proto_value_network
from pvn.tabular.exact import (
    exact_action_values,
    learned_subspace,
    left_singular_vectors,
    proto_value_functions,
    successor_measure,
    uniform_policy_transition,
)
from pvn.tabular.learner import (
    TabularProblem,
    Triples,
    enumerate_triples,
    expected_batch,
    features_of,
    learn,
    sampled_batch,
)
from pvn.tabular.mdp import Mdp, four_rooms, garnet
from pvn.tabular.rendering import render
from pvn.tabular.subspace import principal_angle_cosines
from pvn.tabular.table import table_encoder
from pvn.types import Transition
from tests.observations import EXAMPLE

GAMMA = 0.9
ONE_HOT = Network(init=lambda key, state: {}, apply=lambda params, state: state)


def tasks_with(responses: np.ndarray) -> Tasks:
    """Tasks whose cumulants are these responses [S, T]."""
    return Tasks(state_equality(responses.shape[1]), (), (), responses, responses)


def problem_of(transition: np.ndarray, **more: Any) -> TabularProblem:
    """State-equality tasks on a transition [A, S, S]."""
    states = np.eye(transition.shape[1], dtype=np.float32)
    return TabularProblem(transition, states, tasks_with(states), GAMMA, **more)


def chain_of(mdp: Mdp) -> np.ndarray:
    """P of the uniform policy, [1, S, S]: an MDP whose action values are state values."""
    return uniform_policy_transition(mdp.transition)[None]


def stationary_distribution(policy_transition: np.ndarray) -> np.ndarray:
    """xi, float64 [S], with xi P = xi, sum 1. P must have only one such distribution."""
    size = len(policy_transition)
    equations = np.vstack([policy_transition.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]


def stationary_triples(transition: np.ndarray) -> Triples:
    """The triples of an MDP [A, S, S], with states of the stationary distribution."""
    triples = enumerate_triples(transition)
    stationary = stationary_distribution(uniform_policy_transition(transition))
    probability = triples.probability * stationary[triples.state]
    return triples._replace(probability=probability / probability.sum())


def learned(problem: TabularProblem, encoder: Network, **changes: Any) -> Any:
    """The last train state on `problem`, by default with `expected_batch`."""
    settings: dict[str, Any] = {
        "optimizer": optax.adam(1e-2, eps=1e-8),
        "target_update": average_target(0.0),
        "num_steps": 2000,
        "batch_size": 0,
        "log_every": 10**9,
        "seed": 0,
    }
    (logged,) = learn(problem, encoder, **settings | changes)
    return logged.state


def learned_features(problem: TabularProblem, num_features: int, **changes: Any) -> np.ndarray:
    """The learned features of a table, [S, F]."""
    encoder = table_encoder(num_features)
    return features_of(encoder, learned(problem, encoder, **changes), problem.observation)


def cosines(
    problem: TabularProblem, num_features: int, subspace: np.ndarray, **changes: Any
) -> Any:
    """Principal-angle cosines of learned features to a subspace."""
    return principal_angle_cosines(learned_features(problem, num_features, **changes), subspace)


# Batches.


def test_stationary_distribution() -> None:
    policy = uniform_policy_transition(garnet(20, 2, 2, seed=2).transition)
    stationary = stationary_distribution(policy)
    np.testing.assert_allclose(stationary, np.linalg.matrix_power(policy, 2000)[7], atol=1e-12)
    hand = stationary_distribution(np.array([[0.5, 0.5], [1.0, 0.0]]))
    np.testing.assert_allclose(hand, [2 / 3, 1 / 3])


def test_triples_are_all_that_can_happen() -> None:
    transition = np.array([[[0.25, 0.75], [0, 1]], [[1.0, 0], [1, 0]]])
    triples = enumerate_triples(transition)
    found = {(int(s), int(a), int(z)): 16 * p for s, a, z, p in zip(*triples, strict=True)}
    expected = {(0, 0, 0): 1, (0, 0, 1): 3, (1, 0, 1): 4, (0, 1, 0): 4, (1, 1, 0): 4}
    assert found == pytest.approx(expected)


def test_samples_have_the_frequencies_of_the_mdp() -> None:
    mdp = garnet(6, 2, 3, seed=0)
    problem = problem_of(mdp.transition)
    batch = sampled_batch(problem, enumerate_triples(mdp.transition), 0, 0, 200_000)
    state, next_state = (np.argmax(x, axis=1) for x in (batch.s_tm1, batch.s_t))
    counts = np.zeros((2, 6, 6))
    np.add.at(counts, (batch.a_tm1, state, next_state), 1)
    # 200,000 draws: standard errors below 0.0007.
    np.testing.assert_allclose(counts / 200_000, mdp.transition / 12, atol=0.004)
    assert not np.any(counts[mdp.transition == 0])
    np.testing.assert_array_equal(batch.response_tm1, problem.tasks.responses[state])
    again = sampled_batch(problem, enumerate_triples(mdp.transition), 0, 0, 200_000)
    jax.tree.map(np.testing.assert_array_equal, batch, again)


def test_the_expected_batch_is_every_state_and_action_once() -> None:
    mdp = garnet(5, 3, 2, seed=0)
    returns = np.random.default_rng(0).random((5, 5, 3)).astype(np.float32)
    batch = expected_batch(problem_of(mdp.transition, returns=returns))
    for row, (state, action) in enumerate(zip(np.argmax(batch.s_tm1, 1), batch.a_tm1, strict=True)):
        assert row == action * 5 + state
        np.testing.assert_allclose(batch.s_t[row], mdp.transition[action, state], rtol=1e-6)
        np.testing.assert_array_equal(batch.return_tm1[row], returns[state, :, action])


# 1. The gradient.


def test_expected_gradient_of_the_td_loss_is_the_closed_form() -> None:
    """The mean of the step's gradients over single triples (s, a, s'), with their probabilities."""
    mdp = garnet(9, 3, 4, seed=3)
    policy = uniform_policy_transition(mdp.transition)
    stationary = stationary_distribution(policy)
    random = np.random.default_rng(0)
    features, heads = random.normal(size=(9, 4)), random.normal(size=(4, 5, 3))
    old_features, old_heads = random.normal(size=(9, 4)), random.normal(size=(4, 5, 3))
    cumulants = random.random((9, 5))

    def params_of(table: np.ndarray, kernel: np.ndarray) -> Any:
        return {"encoder": {"kernel": table}, "heads": {"kernel": kernel}}

    with jax.enable_x64(True):
        network = make_proto_value_network(table_encoder(4), 5, 3, use_bias=False)
        indicator = Indicator(5, lambda key: ((), ()), lambda f, x: x, lambda f, response: response)
        objective = successor_objective(
            network=network,
            indicator=indicator,
            policy=TARGET_POLICIES["uniform"],
            gamma=GAMMA,
        )
        step = make_train_step(
            indicator=indicator,
            optimizer=optax.sgd(1.0),
            fitted_optimizer=optax.identity(),
            objective=objective,
            target_update=average_target(0.5),
        )
        params = jax.tree.map(jnp.asarray, params_of(features, np.moveaxis(heads, 2, 0)))
        state = init_train_state(objective, params, (), optax.sgd(1.0), optax.identity())
        state = state._replace(
            target_params=jax.tree.map(jnp.asarray, params_of(old_features, old_heads.mean(axis=2)))
        )
        triples = stationary_triples(mdp.transition)
        one = np.eye(9)
        alone = Transition(  # batches of one
            s_tm1=one[triples.state][:, None],
            a_tm1=triples.action[:, None],
            discount_t=np.ones((len(triples.state), 1)),
            s_t=one[triples.next_state][:, None],
            a_t=np.zeros((len(triples.state), 1), np.int32),
            response_tm1=cumulants[triples.state][:, None],
        )
        after = jax.vmap(lambda batch: step(state, (), batch).params)(alone)
        gradient = jax.tree.map(
            lambda before, new: np.einsum("m,m...->...", triples.probability, before[None] - new),
            params,
            after,
        )
        assert gradient["encoder"]["kernel"].dtype == np.float64

    values = np.einsum("sf,ft->st", old_features, old_heads.mean(axis=2))
    target = cumulants[:, :, None] + GAMMA * np.einsum("asz,zt->sta", mdp.transition, values)
    q = np.einsum("sf,fta->sta", features, heads)
    error = (q - target) * stationary[:, None, None] / (3 * 5)  # 3 actions, 5 tasks
    np.testing.assert_allclose(
        gradient["heads"]["kernel"],
        np.einsum("sf,sta->aft", features, error),
        rtol=0,
        atol=1e-10,
    )
    np.testing.assert_allclose(
        gradient["encoder"]["kernel"], np.einsum("sta,fta->sf", error, heads), rtol=0, atol=1e-10
    )


# 2. One-hot features.


def test_one_hot_features_reach_the_exact_action_values() -> None:
    mdp = four_rooms(2)
    problem = problem_of(mdp.transition)
    count = mdp.num_states
    # With this learning rate a step sets the prediction to the target: value iteration.
    rate = float(count * mdp.num_actions * count)
    state = learned(problem, ONE_HOT, optimizer=optax.sgd(rate), num_steps=300)
    q = np.moveaxis(np.asarray(state.params["heads"]["kernel"], np.float64), 0, 2)  # [S, T, A]
    backup = np.eye(count)[:, :, None] + GAMMA * np.einsum(
        "asz,zt->sta", mdp.transition, q.mean(axis=2)
    )
    assert np.abs(q - backup).max() < 1e-6
    np.testing.assert_allclose(
        q, exact_action_values(mdp.transition, np.eye(count), GAMMA), atol=1e-5
    )


def test_one_hot_features_learn_from_samples_and_a_lagging_target() -> None:
    mdp = four_rooms(2)
    problem = problem_of(mdp.transition)
    count = mdp.num_states
    state = learned(
        problem,
        ONE_HOT,
        optimizer=optax.sgd(0.5 * count * mdp.num_actions),
        target_update=average_target(0.9),
        num_steps=6000,
        batch_size=32,
    )
    q = np.moveaxis(np.asarray(state.params["heads"]["kernel"]), 0, 2)
    # The moves are deterministic, so samples have no noise.
    np.testing.assert_allclose(
        q, exact_action_values(mdp.transition, np.eye(count), GAMMA), atol=1e-4
    )


# 3. Proto-value functions.


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_td_finds_the_proto_value_functions(seed: int) -> None:
    chain = chain_of(four_rooms(4))
    proto_values, values = proto_value_functions(chain[0], 12)
    following = np.linalg.eigvalsh(chain[0])[::-1][12]
    assert values[-1] - following > 0.09  # the gap that d = 12 was chosen for
    found = cosines(problem_of(chain), 12, proto_values, seed=seed)
    assert found[-1] > 0.999


def test_a_head_for_each_action_moves_the_subspace() -> None:
    """Action values depend on one more transition than state values, so the subspace differs."""
    mdp = four_rooms(4)
    proto_values, _ = proto_value_functions(chain_of(mdp)[0], 12)
    found = cosines(problem_of(mdp.transition), 12, proto_values, num_steps=4000)
    assert 0.93 < found[-1] < 0.97


# 4. Not symmetric.


def test_td_and_monte_carlo_differ_if_the_chain_is_not_symmetric() -> None:
    """TD converges to an invariant subspace of P, Monte Carlo to another (Le Lan et al. 2023).

    Let the S tasks be orthonormal, the states uniform, and the heads at their fixed point. TD
    converges where the span of F contains P F. That span is an invariant subspace of P, and stable
    for the eigenvalues with the largest real parts. Regression on Psi converges to the span of its
    top left singular vectors (Eckart & Young). If P is symmetric, both are the span of the
    proto-value functions. They differ because the features project a bootstrapped target before
    its backup, and do not project a return.
    """
    mdp = garnet(20, 2, 2, seed=2)
    chain = chain_of(mdp)
    invariant, _ = proto_value_functions(chain[0], 6)
    singular, _ = left_singular_vectors(successor_measure(chain[0], GAMMA), 6)
    assert principal_angle_cosines(invariant, singular)[-1] == pytest.approx(0.104, abs=1e-3)

    returns = exact_action_values(chain, np.eye(20), GAMMA).astype(np.float32)
    td, monte_carlo = problem_of(chain), problem_of(chain, returns=returns)
    encoder = table_encoder(6)
    # Plain gradient descent converges; Adam's steps leave the fixed point again.
    descent = {
        "optimizer": optax.sgd(10.0),
        "num_steps": 6_000,
        "log_every": 1_000,
    }
    for seed in (1, 3):  # seed 0 with returns: tests/test_tabular.py
        for problem, rest, other in (
            (td, invariant, singular),
            (monte_carlo, singular, invariant),
        ):
            states = learn(
                problem, encoder, target_update=average_target(0.0),
                batch_size=0, seed=seed, **descent,
            )  # fmt: skip
            # The next step takes a state's memory.
            found = [features_of(encoder, each.state, problem.observation) for each in states]
            for features in found[-3:]:
                assert principal_angle_cosines(features, rest)[-1] > 0.999
                assert principal_angle_cosines(features, other)[-1] < 0.15


# 5. Random sets: the curve itself is in test_subspace.py.


def test_features_learned_from_random_sets_follow_their_number() -> None:
    """With both losses the features converge to the closed form for the same sets.

    With few sets the tasks are not orthonormal, and TD is farther from the proto-value functions
    than Monte Carlo. With many sets the tasks are nearly orthonormal, except for the constant
    function, and both approach the proto-value functions.
    """
    chain = chain_of(four_rooms(4))
    successor = successor_measure(chain[0], GAMMA)
    proto_values, _ = proto_value_functions(chain[0], 12)
    found = {}
    for count in (100, 2000):
        sets = random_sets(num_states=68, num_tasks=count, proportion=0.1)
        members = np.asarray(sets.init(jax.random.key(0), EXAMPLE)[0])
        returns = exact_action_values(chain, members.astype(np.float64), GAMMA).astype(np.float32)
        problem = problem_of(chain)._replace(tasks=tasks_with(members))
        for loss, each in (
            ("td", problem),
            ("monte_carlo", problem._replace(returns=returns)),
        ):
            exact = learned_subspace(loss, successor, members.astype(np.float64), 12)
            found[count, loss] = principal_angle_cosines(exact, proto_values)[-1]
            features = learned_features(each, 12)
            assert principal_angle_cosines(features, exact)[-1] > 0.99
            learned_cosine = principal_angle_cosines(features, proto_values)[-1]
            assert learned_cosine == pytest.approx(found[count, loss], abs=0.02)
    assert found[100, "td"] < found[100, "monte_carlo"] - 0.1
    assert min(found[2000, "td"], found[2000, "monte_carlo"]) > 0.95


# 6. Thresholds.


def test_thresholds_on_the_stationary_distribution() -> None:
    """Thresholds from sampled states; the rates are exact, on the stationary distribution."""
    mdp = garnet(60, 2, 3, seed=0)
    policy = uniform_policy_transition(mdp.transition)
    stationary = stationary_distribution(policy)
    tasks = RandomNetwork(proportion=0.2, threshold_from="dataset", tasks_per_network=10).indicator(
        20
    )
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    response = np.asarray(tasks.response(frozen, render(mdp.coordinates)))
    triples = stationary_triples(mdp.transition)
    problem = problem_of(mdp.transition)._replace(tasks=tasks_with(response))
    sample = sampled_batch(problem, triples, 0, 0, 50_000).response_tm1
    assert tasks.fit is not None
    on = np.asarray(is_on(jnp.asarray(tasks.fit(sample)), jnp.asarray(response)))
    rates = stationary @ on
    # One state has up to a few percent of the weight, so few rates are attainable.
    for task, column in enumerate(response.T):
        falling = np.cumsum(stationary[np.argsort(-column)])
        attainable = np.min(np.abs(np.append(falling, 0) - 0.2))
        assert abs(rates[task] - 0.2) <= attainable + 0.01
    assert rates.mean() == pytest.approx(0.2, rel=0.1)


def test_regressed_thresholds_on_the_stationary_distribution() -> None:
    mdp = garnet(60, 2, 3, seed=0)
    stationary = stationary_distribution(uniform_policy_transition(mdp.transition))
    tasks = RandomNetwork(
        proportion=0.2, threshold_from="quantile_regression", tasks_per_network=10
    ).indicator(20)
    frozen, bias = tasks.init(jax.random.key(0), EXAMPLE)
    response = jnp.asarray(tasks.response(frozen, render(mdp.coordinates)))
    # The expected visits of 2,000 draws, rounded.
    visits = np.repeat(np.arange(60), np.round(2000 * stationary).astype(int))
    optimizer = optax.adam(optax.linear_schedule(3e-3, 0.0, 4000))
    opt_state = optimizer.init(bias)
    assert tasks.loss is not None
    gradient_of = jax.grad(tasks.loss)

    @jax.jit
    def update(bias: jax.Array, opt_state: Any) -> Any:
        updates, opt_state = optimizer.update(gradient_of(bias, response[visits]), opt_state)
        return optax.apply_updates(bias, updates), opt_state

    for _ in range(4000):
        bias, opt_state = update(bias, opt_state)
    # The quantile is the response of one state: p lies between the rates without and with it.
    above = stationary @ np.asarray(is_on(bias - 1e-4, response))
    with_it = stationary @ np.asarray(is_on(bias + 1e-4, response))
    assert np.all(above <= 0.2 + 0.005)
    assert np.all(with_it >= 0.2 - 0.005)


def test_a_loss_that_is_not_finite() -> None:
    problem = problem_of(chain_of(four_rooms(2)))
    with pytest.raises(UserError, match=r"not finite at step \d+; lower config.learning_rate$"):
        learned(problem, table_encoder(4), optimizer=optax.sgd(1e6), num_steps=200)
