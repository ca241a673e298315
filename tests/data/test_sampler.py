import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pvn.data.sampler import Sampler, uniform_indices, weighted_indices

WORD = 2**64
seeds = st.integers(0, WORD - 1)
steps = st.integers(0, WORD - 1)
CHECK = settings(deadline=None, derandomize=True, max_examples=100)


def philox(counter, key):
    """Four words of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers"), as integers."""
    words = [counter >> shift & WORD - 1 for shift in (0, 64, 128, 192)]
    low, high = key, 0
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        one, three = second >> 64 ^ words[1] ^ low, first >> 64 ^ words[3] ^ high
        words = [one, second % WORD, three, first % WORD]
        low, high = (low + 0x9E3779B97F4A7C15) % WORD, (high + 0xBB67AE8584CAA73B) % WORD
    return words


def slow_indices(seed, step, batch_size, num_items):
    """Lemire's bounded integers (2019) from the 32-bit halves of Philox, the low half first."""

    def halves():
        counter = step << 192
        while True:
            counter += 1
            for word in philox(counter, seed):
                yield from (word % 2**32, word >> 32)

    source = halves()
    found = []
    while len(found) < batch_size:
        product = next(source) * num_items
        if product % 2**32 >= 2**32 % num_items:
            found.append(product >> 32)
    return found


@CHECK
@given(seeds, steps, st.integers(1, 40), st.integers(2, 2**31))
def test_against_the_published_generators(seed, step, batch_size, num_items):
    # Fixes the numbers: a resumed run draws the same data with any version of NumPy.
    got = uniform_indices(seed, step, batch_size, num_items)
    assert got.tolist() == slow_indices(seed, step, batch_size, num_items)


@CHECK
@given(seeds, steps, st.integers(1, 64), st.integers(1, 10**9))
def test_in_range(seed, step, batch_size, num_items):
    batch = uniform_indices(seed, step, batch_size, num_items)
    assert (batch.shape, batch.dtype) == ((batch_size,), np.int64)
    assert batch.min() >= 0
    assert batch.max() < num_items


@CHECK
@given(seeds, st.lists(steps, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_pure_function_in_any_order(seed, wanted, random):
    first = {step: uniform_indices(seed, step, 16, 1000).tolist() for step in wanted}
    np.random.default_rng(0).random(3)
    again = random.sample(wanted, len(wanted))
    assert {step: uniform_indices(seed, step, 16, 1000).tolist() for step in again} == first


@CHECK
@given(seeds, steps, st.integers(1, 30), st.integers(0, 30), st.integers(2, 2**31))
def test_a_smaller_batch_is_the_beginning_of_a_larger_one(seed, step, size, more, num_items):
    batch = uniform_indices(seed, step, size + more, num_items)
    np.testing.assert_array_equal(batch[:size], uniform_indices(seed, step, size, num_items))


@CHECK
@given(st.lists(st.tuples(seeds, steps), min_size=2, max_size=6, unique=True))
def test_another_seed_or_step_is_another_batch(pairs):
    # 32 draws from a million: equal by chance with probability 10**-192.
    batches = {tuple(uniform_indices(seed, step, 32, 10**6)) for seed, step in pairs}
    assert len(batches) == len(pairs)


def test_seed_and_step_cannot_be_swapped():
    assert uniform_indices(1, 2, 32, 10**6).tolist() != uniform_indices(2, 1, 32, 10**6).tolist()


def test_steps_next_to_each_other_share_no_draws():
    # If a step began within the numbers of the step before, it would repeat some of its draws.
    draws = [set(uniform_indices(0, step, 500, 2**62).tolist()) for step in range(20)]
    assert sum(map(len, draws)) == len(set.union(*draws)) == 20 * 500


@pytest.mark.parametrize("step", [0, 2**32, 2**63, 2**64 - 1])
def test_every_step_of_64_bits(step):
    assert uniform_indices(7, step, 5, 100).tolist() == slow_indices(7, step, 5, 100)


def test_uniform():
    counts = np.zeros(50)
    for step in range(200):
        counts += np.bincount(uniform_indices(3, step, 250, 50), minlength=50)
    assert counts.sum() == 50_000
    assert 0.001 < stats.chisquare(counts).pvalue < 0.999


def test_uniform_over_steps():
    # The draws at one index of the batch, over steps.
    places = np.stack([uniform_indices(3, step, 2, 20) for step in range(4000)])
    for column in places.T:
        assert 0.001 < stats.chisquare(np.bincount(column, minlength=20)).pvalue < 0.999
    pairs = np.bincount(places[:, 0] * 20 + places[:, 1], minlength=400)
    assert 0.001 < stats.chisquare(pairs).pvalue < 0.999


def test_one_item():
    assert uniform_indices(0, 0, 4, 1).tolist() == [0, 0, 0, 0]


@CHECK
@given(seeds, steps, st.integers(1, 20), st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_weighted_draws_against_the_published_generator(seed, step, batch_size, weights):
    if not sum(weights):
        return
    probability = np.array(weights) / sum(weights)
    words = (philox((step << 192) + block, seed) for block in range(1, batch_size + 1))
    doubles = [(word >> 11) / 2**53 for four in words for word in four][:batch_size]
    edges = np.cumsum(probability)
    expected = [int(np.sum(edges / edges[-1] <= double)) for double in doubles]
    got = weighted_indices(seed, step, batch_size, probability)
    assert got.tolist() == expected
    assert np.all(probability[got] > 0)


def test_weighted_draws_have_their_frequencies():
    probability = np.array([0.5, 0.0, 0.2, 0.3])
    draws = np.concatenate([weighted_indices(7, step, 1000, probability) for step in range(100)])
    found = np.bincount(draws, minlength=4)
    assert found[1] == 0
    assert stats.chisquare(found[[0, 2, 3]], 1e5 * probability[[0, 2, 3]]).pvalue > 1e-3


def test_mixtures_have_their_shares_and_are_uniform_within():
    sizes, shares = np.array([3, 1, 40]), np.array([0.5, 0.3, 0.2])
    sampler = Sampler(7, 1000, shares)
    draws = np.concatenate([sampler.draw(step, sizes[None]) for step in range(100)])
    found = np.bincount(draws, minlength=44)
    expected = 1e5 * np.repeat(shares / sizes, sizes)
    assert stats.chisquare(found, expected).pvalue > 1e-3
    np.testing.assert_array_equal(draws[-1000:], sampler.draw(99, sizes[None]))


@pytest.mark.parametrize("shares", [None, np.array([0.3, 0.7])])
def test_lanes_are_drawn_alike_and_are_uniform_within(shares):
    sizes = np.array([[3, 9], [8, 2]])  # of two lanes with two datasets each
    sampler = Sampler(7, 1000, shares)
    draws = np.stack([sampler.draw(step, sizes) for step in range(100)])
    for lane, of_lane in enumerate(np.split(draws, 2, axis=1)):
        rates = np.full(2, 1 / sizes[lane].sum()) if shares is None else shares / sizes[lane]
        found = np.bincount(of_lane.ravel(), minlength=sizes[lane].sum())
        assert stats.chisquare(found, 5e4 * np.repeat(rates, sizes[lane])).pvalue > 1e-3
