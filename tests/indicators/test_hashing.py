import jax
import jax.numpy as jnp
import numpy as np

from pvn.indicators.hashing import RandomHash, multiply_shift
from tests.observations import EXAMPLE


def test_against_python_integers() -> None:
    random = np.random.default_rng(0)
    observation = random.integers(0, 256, (5, 84, 84, 4), dtype=np.uint8)
    observation[0] = 255  # the largest possible sums
    multipliers = random.integers(0, 2**32, (84 * 84 * 4, 3), dtype=np.uint32)
    multipliers[:, 0] = 2**32 - 1
    offset = random.integers(0, 2**32, 3, dtype=np.uint32)
    hashed = np.asarray(jax.jit(multiply_shift)(multipliers, offset, observation))
    for b, image in enumerate(observation.reshape(5, -1)):
        for t in range(3):
            pairs = zip(multipliers[:, t].tolist(), image.tolist(), strict=True)
            total = sum(a * x for a, x in pairs) + int(offset[t])
            assert hashed[b, t] == (total % 2**32) // 2**8


def test_indicator_is_on_where_the_hash_falls_in_the_first_bin() -> None:
    tasks = RandomHash(proportion=0.25).indicator(4)
    # Response = hash / 2^24 exactly; on below a quarter of the range.
    response = jnp.array([[0, 2**22 - 1, 2**22, 2**24 - 1]], jnp.float32) / 2**24
    assert tasks.cumulant((), response).tolist() == [[1, 1, 0, 0]]


def test_rate_over_distinct_states() -> None:
    tasks = RandomHash(proportion=0.1).indicator(50)
    frozen, fitted = tasks.init(jax.random.key(0), EXAMPLE)
    states = np.random.default_rng(0).integers(0, 256, (400, 84, 84, 4), dtype=np.uint8)
    on = np.asarray(tasks.cumulant(fitted, tasks.response(frozen, states)))
    # 20,000 pairwise independent draws: standard error 0.002.
    assert abs(on.mean() - 0.1) < 0.01


def test_one_pixel_makes_another_state() -> None:
    tasks = RandomHash(proportion=0.5).indicator(200)
    frozen, fitted = tasks.init(jax.random.key(1), EXAMPLE)
    states = np.zeros((2, 84, 84, 4), np.uint8)
    states[1, 40, 40, 3] = 1
    on = np.asarray(tasks.cumulant(fitted, tasks.response(frozen, states)))
    assert 60 < np.sum(on[0] != on[1]) < 140  # half of them, six standard deviations


def test_the_same_with_64_bit_numbers() -> None:
    states = np.random.default_rng(0).integers(0, 256, (3, 84, 84, 4), dtype=np.uint8)
    tasks = RandomHash(proportion=0.1).indicator(5)

    def responses() -> np.ndarray:
        return np.asarray(tasks.response(tasks.init(jax.random.key(1), EXAMPLE)[0], states))

    expected = responses()
    with jax.enable_x64(True):
        np.testing.assert_array_equal(responses(), expected, strict=True)
