"""Local indicators against the same arithmetic in NumPy integers."""

import jax
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.indicators.local_network import LocalNetwork
from tests.indicators.integers import LARGE, SMALL, last_sums
from tests.observations import EXAMPLE


def _pooled(maps: np.ndarray, side: int) -> np.ndarray:
    """int64 [N, U]: sums over neighbourhoods."""
    windows = np.lib.stride_tricks.sliding_window_view(maps, (side, side), axis=(1, 2))
    return windows.sum(axis=(-2, -1)).reshape(len(maps), -1)


@pytest.mark.parametrize("pool", [1, 3])
def test_a_response_is_one_unit_of_the_last_convolution(states: np.ndarray, pool: int) -> None:
    tasks = LocalNetwork(pool=pool, tasks_per_network=4).indicator(7)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    assert len(frozen) == 2
    parts = []
    for part in frozen:
        units = np.asarray(part["unit"])
        assert len(set(units.tolist())) == 4
        parts.append(_pooled(last_sums(part["network"], states, LARGE), pool)[:, units])
    expected = np.concatenate(parts, axis=1)[:, :7]
    assert np.abs(expected).max() > 2**10
    for response in (tasks.response, jax.jit(tasks.response)):
        np.testing.assert_array_equal(
            response(frozen, states), expected.astype(np.float32), strict=True
        )
    np.testing.assert_array_equal(tasks.response(frozen, states[3:4])[0], expected[3])


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_task_may_read_an_earlier_convolution(states: np.ndarray, layer: int) -> None:
    tasks = LocalNetwork(layer=layer, tasks_per_network=300).indicator(300)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    sums = last_sums(frozen[0]["network"], states, LARGE[:layer]).reshape(len(states), -1)
    assert sums.shape[1] == {1: 21 * 21 * 32, 2: 7_744, 3: 7_744}[layer]
    expected = sums[:, np.asarray(frozen[0]["unit"])]
    np.testing.assert_array_equal(tasks.response(frozen, states), expected)


def test_a_convolution_that_is_not_there() -> None:
    message = r"config.local_network.layer: 2, expected at most 1 for observations \[10, 10, 4\]"
    with pytest.raises(UserError, match=message):
        example = np.zeros((1, 10, 10, 4), np.uint8)
        LocalNetwork(layer=2).indicator(5).init(jax.random.key(0), example)


def test_small_observations_have_one_convolution() -> None:
    states = np.random.default_rng(0).integers(0, 2, (50, 10, 10, 4), dtype=np.uint8)
    tasks = LocalNetwork(tasks_per_network=6).indicator(6)
    frozen, _ = tasks.init(jax.random.key(0), states[:1])
    expected = last_sums(frozen[0]["network"], states, SMALL).reshape(50, -1)
    np.testing.assert_array_equal(
        tasks.response(frozen, states), expected[:, np.asarray(frozen[0]["unit"])]
    )


def test_a_task_sees_only_its_part_of_the_screen(states: np.ndarray) -> None:
    tasks = LocalNetwork(tasks_per_network=100).indicator(100)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    changed = states.copy()
    changed[:, :6, :6] ^= 255
    same = (tasks.response(frozen, states) == tasks.response(frozen, changed)).all(axis=0)
    # The corner is in the receptive fields of the units in the first rows and columns.
    row, column = np.divmod(np.asarray(frozen[0]["unit"]) // 64, 11)
    near = (row <= 2) & (column <= 2)
    assert same[(row > 3) | (column > 3)].all()
    assert 0 < near.sum() < 100
    assert not same[near].all()


def test_a_change_is_the_difference_of_the_newest_two_frames(states: np.ndarray) -> None:
    tasks = LocalNetwork(change=True, tasks_per_network=5).indicator(5)
    frozen, _ = tasks.init(jax.random.key(0), EXAMPLE)
    newest, before = (
        last_sums(frozen[0]["network"], states[..., channel], LARGE).reshape(5, -1)
        for channel in (slice(3, 4), slice(2, 3))
    )
    expected = np.abs(newest - before)[:, np.asarray(frozen[0]["unit"])]
    np.testing.assert_array_equal(tasks.response(frozen, states), expected)
    still = np.repeat(states[..., :1], 4, axis=-1)
    assert not np.asarray(tasks.response(frozen, still)).any()
    assert tasks.stack == 2


def test_the_share_of_states_is_the_proportion() -> None:
    tasks = LocalNetwork(proportion=0.2, tasks_per_network=3).indicator(3)
    assert tasks.fit is not None
    responses = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    on = np.asarray(tasks.cumulant(tasks.fit(responses), responses))
    np.testing.assert_array_equal(on.mean(axis=0), np.float32(0.2))


@pytest.mark.parametrize(
    ("family", "num_tasks", "message"),
    [
        (LocalNetwork(tasks_per_network=1601), 1601, "local_network: a network has 1600 units"),
        (LocalNetwork(pool=11), 5, "has 0 units .* expected at least 5: a smaller pool"),
        (LocalNetwork(change=True, tasks_per_network=2000), 1700, "a network has 1600 units"),
    ],
)
def test_more_tasks_than_a_network_has_units(
    family: LocalNetwork, num_tasks: int, message: str
) -> None:
    example = np.zeros((1, 10, 10, 4), np.uint8)
    with pytest.raises(UserError, match=message):
        family.indicator(num_tasks).init(jax.random.key(0), example)
    frozen, _ = family._replace(pool=1).indicator(5).init(jax.random.key(0), example)
    assert frozen[0]["unit"].shape == (5,)
