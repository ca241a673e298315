"""The train step, by hand with a small network, and on one and eight devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.published import plain
from pvn.errors import UserError
from pvn.indicators.indicator import Indicator
from pvn.indicators.random_network import RandomNetwork
from pvn.learning import train_step as learning
from pvn.learning.feed import to_transition
from pvn.learning.objectives import successor_objective
from pvn.learning.parallel import check_divides, make_parallel
from pvn.learning.target_policies import TARGET_POLICIES, TargetPolicy
from pvn.networks.encoders import make_encoder
from pvn.networks.network import Network
from pvn.networks.proto_value import make_proto_value_network
from pvn.types import ATARI, FrameBatch, Transition
from tests.observations import EXAMPLE

LINEAR = Network(
    init=lambda key, x: {"w": jax.random.normal(key, (3, 2, 2))},
    apply=lambda params, x: jnp.einsum("bf,fta->bta", x, params["w"]),
)
UNIFORM = TARGET_POLICIES["uniform"]
# The response is the state's first two entries; the cumulant is what is above the threshold.
TASKS = Indicator(
    num_tasks=2,
    init=lambda key, observation: ((), jnp.zeros(2)),
    response=lambda frozen, x: x[:, :2],
    cumulant=lambda fitted, response: (response + fitted[None] > 0).astype(jnp.float32),
    loss=lambda fitted, response: jnp.mean(jnp.square(response + fitted[None])),
)


def _batch(seed: int = 0, size: int = 8) -> Transition:
    random = np.random.default_rng(seed)
    return Transition(
        s_tm1=random.normal(size=(size, 3)).astype(np.float32),
        a_tm1=random.integers(2, size=size).astype(np.int32),
        discount_t=(random.random(size) < 0.7).astype(np.float32),
        s_t=random.normal(size=(size, 3)).astype(np.float32),
        a_t=random.integers(2, size=size).astype(np.int32),
        response_tm1=None,
    )


def _make(
    network: Network = LINEAR, policy: TargetPolicy | None = UNIFORM, **changes: Any
) -> tuple[learning.TrainState, learning.Step]:
    optimizer, fitted_optimizer = optax.sgd(0.1), optax.sgd(0.01)
    objective = successor_objective(
        network=plain(network), indicator=TASKS, policy=policy, gamma=0.9
    )
    settings: dict[str, Any] = {
        "indicator": TASKS,
        "optimizer": optimizer,
        "fitted_optimizer": fitted_optimizer,
        "objective": objective,
        "target_update": learning.average_target(0.75),
    }
    params = LINEAR.init(jax.random.key(0), jnp.zeros((1, 3)))
    state = learning.init_train_state(objective, params, jnp.zeros(2), optimizer, fitted_optimizer)
    return state, learning.make_train_step(**settings | changes)


def test_one_step_against_numpy() -> None:
    state, step = _make()
    # Different from the online parameters, so that a mix-up of the two would show.
    state = state._replace(target_params={"w": state.params["w"] * 2})
    batch = _batch()
    new = jax.jit(step)(state, (), batch)

    w = np.asarray(state.params["w"], np.float64)
    q_t = np.einsum("bf,fta->bta", batch.s_t, 2 * w)
    cumulant = (batch.s_tm1[:, :2] > 0).astype(float)
    target = cumulant + 0.9 * batch.discount_t[:, None] * q_t.mean(axis=-1)
    q = np.einsum("bf,fta->bta", batch.s_tm1, w)
    q_a = np.stack([q[b, :, a] for b, a in enumerate(batch.a_tm1)])
    error = q_a - target
    gradient = np.zeros_like(w)
    for b, a in enumerate(batch.a_tm1):
        gradient[:, :, a] += batch.s_tm1[b][:, None] * error[b][None] / error.size
    np.testing.assert_allclose(new.params["w"], w - 0.1 * gradient, rtol=1e-5)
    # From the parameters before the update.
    np.testing.assert_allclose(new.target_params["w"], 0.75 * 2 * w + 0.25 * w, rtol=1e-6)
    assert new.totals["loss"] == pytest.approx(0.5 * np.mean(error**2), rel=1e-5)
    assert new.totals["gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert new.totals["mean_prediction"] == pytest.approx(q_a.mean(), rel=1e-5)
    np.testing.assert_allclose(
        new.fitted, -0.01 * np.mean(2 * batch.s_tm1[:, :2], axis=0) / 2, rtol=1e-5
    )
    assert int(new.step) == 1


def test_warmup_moves_the_thresholds_only() -> None:
    state, step = _make(warmup=True)
    new = jax.jit(step)(state, (), _batch())
    np.testing.assert_array_equal(new.params["w"], state.params["w"])
    np.testing.assert_array_equal(new.target_params["w"], state.target_params["w"])
    assert np.all(np.asarray(new.fitted) != 0)


def test_given_responses_are_used_instead_of_computed_ones() -> None:
    state, step = _make()
    batch = _batch()
    same = step(state, (), batch._replace(response_tm1=batch.s_tm1[:, :2]))
    other = step(state, (), batch._replace(response_tm1=-batch.s_tm1[:, :2]))
    computed = step(state, (), batch)
    np.testing.assert_array_equal(same.params["w"], computed.params["w"])
    assert not np.array_equal(other.params["w"], computed.params["w"])


def test_returns_are_the_targets_without_a_target_policy() -> None:
    state, step = _make(policy=None)
    assert state.target_params == {}  # nothing asks for a target network
    batch = _batch()
    returns = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
    new = jax.jit(step)(state, (), batch._replace(return_tm1=returns))
    w = np.asarray(state.params["w"], np.float64)
    q = np.einsum("bf,fta->bta", batch.s_tm1, w)
    error = np.stack([q[b, :, a] for b, a in enumerate(batch.a_tm1)]) - returns
    gradient = np.zeros_like(w)
    for b, a in enumerate(batch.a_tm1):
        gradient[:, :, a] += batch.s_tm1[b][:, None] * error[b][None] / error.size
    np.testing.assert_allclose(new.params["w"], w - 0.1 * gradient, rtol=1e-5)
    assert new.totals["loss"] == pytest.approx(0.5 * np.mean(error**2), rel=1e-5)


def test_periodic_target_copies_every_period() -> None:
    state, step = _make(target_update=learning.periodic_target(3))
    copied = []
    for number in range(7):
        new = step(state, (), _batch(number))
        copied.append(np.array_equal(new.target_params["w"], state.params["w"]))
        state = new
    assert copied == [True, False, False, True, False, False, True]


def test_no_two_leaves_share_memory_so_that_all_can_be_donated() -> None:
    state, step = _make()
    state = jax.jit(step, donate_argnums=0)(state, (), _batch(0))
    state = jax.jit(learning.reset_totals, donate_argnums=0)(state)
    jax.jit(step, donate_argnums=0)(state, (), _batch(1))


def test_first_bad_step_is_named() -> None:
    state, step = _make()
    state = step(state, (), _batch(0))
    assert int(state.first_bad_step) == 0
    bad = _batch(1)
    bad.s_tm1[0, 0] = np.nan
    state = step(state, (), bad)
    state = step(state, (), _batch(2))
    assert int(state.first_bad_step) == 2  # counted from 1


def test_a_gradient_that_overflows_is_bad_though_the_loss_is_finite() -> None:
    network = LINEAR._replace(apply=lambda params, x: jnp.sqrt(0 * LINEAR.apply(params, x)))
    state, step = _make(network=network)
    state = step(state, (), _batch(0))
    assert np.isfinite(state.totals["loss"])
    assert int(state.first_bad_step) == 1


def test_means_do_not_count_the_warmup() -> None:
    state, warmup = _make(warmup=True)
    state, (_, step) = warmup(state, (), _batch(0)), _make()
    state = step(state, (), _batch(1))
    means = learning.mean_metrics(state)
    assert means["loss"] == float(state.totals["loss"])
    assert means["threshold_loss"] == pytest.approx(float(state.totals["threshold_loss"]) / 2)


def _real_step(axis_name: str | None) -> tuple[learning.TrainState, Any, Any]:
    """A Nature encoder with learned thresholds, so that the step has every kind of reduction."""
    encoder = make_encoder("nature", width=1, num_features=16)
    network = make_proto_value_network(encoder, num_tasks=6, num_actions=3)
    tasks = RandomNetwork(
        proportion=0.2, threshold_from="quantile_regression", tasks_per_network=3
    ).indicator(6)
    optimizer = optax.adam(3e-4, eps=1.5e-4)  # the published epsilon
    objective = successor_objective(network=network, indicator=tasks, policy=UNIFORM, gamma=0.9)
    step = learning.make_train_step(
        indicator=tasks,
        optimizer=optimizer,
        fitted_optimizer=optimizer,
        objective=objective,
        target_update=learning.average_target(0.9),
        axis_name=axis_name,
    )
    frozen, fitted = tasks.init(jax.random.key(1), EXAMPLE)
    params = network.init(jax.random.key(0), jnp.zeros((1, 84, 84, 4), jnp.uint8))
    state = learning.init_train_state(objective, params, fitted, optimizer, optimizer)
    return state, frozen, step


def _frame_batch(step: int) -> FrameBatch:
    random = np.random.default_rng(step)
    return FrameBatch(
        frames=random.integers(0, 256, (16, 5, 84, 84), dtype=np.uint8),
        places=None,
        a_tm1=random.integers(3, size=16).astype(np.int32),
        a_t=random.integers(3, size=16).astype(np.int32),
        discount_t=(random.random(16) < 0.9).astype(np.float32),
        response_tm1=None,
        return_tm1=None,
    )


def test_eight_devices_give_the_numbers_of_one() -> None:
    results = {}
    for count in (1, 8):
        parallel = make_parallel(jax.devices()[:count])
        state, frozen, step = _real_step(parallel.axis_name)
        run = parallel.compile(
            lambda state, frozen, batch, step=step: step(
                state, frozen, to_transition(ATARI, (), batch)
            )
        )
        state, frozen = parallel.replicate(state), parallel.replicate(frozen)
        for number in range(10):
            batch = parallel.split(_frame_batch(number))
            if count == 8:
                assert batch.frames.shape == (8, 2, 5, 84, 84)
            state = run(state, frozen, batch)
        if count == 8:
            for leaf in jax.tree.leaves(state):
                copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
                assert len({shard.device for shard in leaf.addressable_shards}) == 8
                for copy in copies[1:]:
                    np.testing.assert_array_equal(copy, copies[0])
        results[count] = parallel.unreplicate(state)
    one, eight = results[1], results[8]
    assert jax.tree.structure(one) == jax.tree.structure(eight)
    for name in ("params", "target_params", "fitted", "totals"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            getattr(one, name),
            getattr(eight, name),
        )
    # The ten steps have changed the parameters.
    start = _real_step(None)[0].params
    moved = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), start, one.params)
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_rows_of_the_batch_go_to_the_devices_in_order() -> None:
    parallel = make_parallel(jax.devices())
    assert parallel.split(np.arange(16)).tolist() == [[2 * d, 2 * d + 1] for d in range(8)]


def test_a_batch_that_does_not_divide() -> None:
    with pytest.raises(UserError, match=r"config.batch_size: 30 does not divide over 8 devices"):
        check_divides(30, 8)
    check_divides(32, 8)
