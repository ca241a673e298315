import jax
import numpy as np
import optax
import pytest

from pvn.data.transitions import find_transitions
from pvn.indicators.random_network import RandomCumulant, RandomNetwork
from pvn.indicators.responses import (
    Cache,
    compute_responses,
    open_cache,
    stored_responses,
)
from pvn.learning.feed import to_transition
from pvn.learning.objectives import successor_objective
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.learning.train_step import (
    average_target,
    init_train_state,
    make_train_step,
)
from pvn.networks.encoders import make_encoder
from pvn.networks.proto_value import make_proto_value_network
from pvn.types import ATARI
from tests.datasets import read_dataset
from tests.indicators.integers import LARGE, SMALL, last_sums
from tests.observations import EXAMPLE

FAMILY = RandomNetwork(proportion=0.1, tasks_per_network=3)


def _in_integers(
    params: dict, observation: np.ndarray, layers: tuple[tuple, ...] = LARGE
) -> np.ndarray:
    """The same network from its parameters, in NumPy with int64."""
    x = np.clip(last_sums(params, observation, layers) >> layers[-1][3], 0, 1023)
    kernel = np.asarray(params["linear"]["w"])
    assert kernel.dtype == np.int32
    assert 1023 * np.abs(kernel.astype(np.int64)).sum(axis=0).max() < 2**31
    return x.reshape(len(x), -1) @ kernel


def test_tasks_are_read_off_as_many_networks_as_needed(states: np.ndarray) -> None:
    tasks = FAMILY.indicator(7)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    assert [params["linear"]["w"].shape for params in frozen] == [(7744, 3)] * 3
    expected = np.concatenate([_in_integers(params, states) for params in frozen], axis=1)[:, :7]
    for response in (tasks.response, jax.jit(tasks.response)):
        np.testing.assert_array_equal(
            response(frozen, states), expected.astype(np.float32) / 2**23, strict=True
        )


@pytest.mark.parametrize("channels", [4, 10])
def test_small_observations_have_a_small_network(channels: int) -> None:
    states = np.random.default_rng(0).integers(0, 2, (300, 10, 10, channels), dtype=np.uint8)
    tasks = FAMILY.indicator(5)
    frozen, _ = tasks.init(jax.random.key(0), states[:1])
    assert [params["linear"]["w"].shape for params in frozen] == [(1600, 3)] * 2
    parts = [_in_integers(params, states, SMALL) for params in frozen]
    expected = np.concatenate(parts, axis=1)[:, :5].astype(np.float32) / 2**23
    response = tasks.response(frozen, states)
    np.testing.assert_array_equal(response, expected, strict=True)
    np.testing.assert_array_equal(tasks.response(frozen, states[7:8])[0], expected[7])
    assert len(np.unique(expected[:, 0])) > 290  # fine enough for thresholds


def test_weights_are_normal_and_cut_off() -> None:
    frozen, _ = FAMILY._replace(tasks_per_network=7).indicator(7).init(jax.random.key(0), EXAMPLE)
    names = ("conv2_d", "conv2_d_1", "conv2_d_2", "linear")
    for name, most in zip(names, (128, 32, 28, 256), strict=True):
        weights = np.asarray(frozen[0][name]["w"]).ravel()
        assert np.abs(weights).max() == most
        # A normal truncated at two standard deviations has 0.880 of its standard deviation.
        assert weights.std() == pytest.approx(0.880 * most / 2, rel=0.02)
        assert abs(weights.mean()) < 4 * weights.std() / np.sqrt(len(weights))


def test_a_function_of_the_key_alone() -> None:
    tasks = FAMILY.indicator(7)
    first, again, other = (tasks.init(jax.random.key(seed), EXAMPLE)[0] for seed in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first[0]["linear"]["w"], other[0]["linear"]["w"])
    assert not np.array_equal(first[0]["linear"]["w"], first[1]["linear"]["w"])


def test_final_relu_is_the_published_form(states: np.ndarray) -> None:
    frozen, _ = FAMILY.indicator(7).init(jax.random.key(0), EXAMPLE)
    plain = FAMILY.indicator(7).response(frozen, states)
    published = FAMILY._replace(final_relu=True).indicator(7)
    np.testing.assert_array_equal(published.response(frozen, states), np.maximum(plain, 0))


@pytest.mark.parametrize("tasks_per_network", [1, 3])
def test_responses_are_identical_in_the_step_from_the_cache_and_alone(
    dataset: object, tmp_path: object, tasks_per_network: int
) -> None:
    rows = read_dataset(str(dataset)).rows
    rows = type(rows)(*(column[:300] for column in rows))
    transitions = find_transitions(rows)
    tasks = FAMILY._replace(tasks_per_network=tasks_per_network).indicator(7)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    cache = Cache(str(tmp_path), {})
    open_cache(cache)
    cached = stored_responses(cache, tasks, frozen, transitions)[:]
    assert tasks.fit is not None
    bias = tasks.fit(cached)

    index = transitions.start[5:295:29]
    batch = transitions.batch(index)
    states = transitions.observations(index)
    for state, expected in zip(states, cached[index], strict=True):
        np.testing.assert_array_equal(tasks.response(frozen, state[None])[0], expected)

    # The step does not return responses. But if a response or a threshold differed, so would the
    # gradient.
    network = make_proto_value_network(make_encoder("nature", width=1, num_features=8), 7, 4)
    optimizer = optax.sgd(1.0)
    real = tasks._replace(cumulant=lambda fitted, response: response + fitted[None])
    objective = successor_objective(
        network=network, indicator=real, policy=TARGET_POLICIES["uniform"], gamma=0.9
    )
    step = make_train_step(
        indicator=real,
        optimizer=optimizer,
        fitted_optimizer=optimizer,
        objective=objective,
        target_update=average_target(0.9),
    )
    params = network.init(jax.random.key(1), states[:1])
    before = init_train_state(objective, params, bias, optimizer, optimizer)
    run = jax.jit(lambda batch: step(before, frozen, to_transition(ATARI, (), batch)).params)
    for size in (1, len(index)):
        part = jax.tree.map(lambda x: x[:size], batch)  # noqa: B023
        given = part._replace(response_tm1=cached[index[:size]])
        jax.tree.map(np.testing.assert_array_equal, run(part), run(given))


def test_thresholds_give_the_proportion_on_real_frames(dataset: object) -> None:
    rows = read_dataset(str(dataset)).rows
    tasks = FAMILY.indicator(7)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    everywhere = np.arange(len(rows.action))
    responses = compute_responses(tasks, frozen, find_transitions(rows), everywhere)
    assert tasks.fit is not None
    on = np.asarray(tasks.cumulant(tasks.fit(responses), responses))
    np.testing.assert_allclose(on.mean(axis=0), 0.1, rtol=0.1)


def test_random_cumulants_are_standardised_over_the_dataset() -> None:
    tasks = RandomCumulant(tasks_per_network=3).indicator(7)
    assert tasks.fit is not None
    assert tasks.loss is None
    responses = np.random.default_rng(0).normal(3, 0.01, (500, 7)).astype(np.float32)
    responses[:, 0] = 1  # a dead task
    cumulant = np.asarray(tasks.cumulant(tasks.fit(responses), responses))
    assert (cumulant[:, 0] == 0).all()
    np.testing.assert_allclose(cumulant[:, 1:].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(cumulant[:, 1:].std(axis=0), 1, atol=1e-3)
