"""Draws on a device against those of NumPy."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data import sampler
from pvn.learning.draws import MOST_ITEMS, split_seed, uniform_indices

on_device = jax.jit(uniform_indices, static_argnums=(2, 3))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(0, 2**31 - 1),
    # Few, because each pair is compiled. Of 858,993,460 items a fifth of the draws is rejected, the
    # largest part; of a power of two none is.
    batch_size=st.sampled_from([1, 32, 250]),
    num_items=st.sampled_from([1, 3, 85_309, 858_993_460, MOST_ITEMS]),
)
def test_a_device_draws_the_numbers_of_the_host(
    seed: int, step: int, batch_size: int, num_items: int
) -> None:
    drawn = on_device(split_seed(seed), np.int32(step), batch_size, num_items)
    assert drawn.dtype == np.int32
    np.testing.assert_array_equal(drawn, sampler.uniform_indices(seed, step, batch_size, num_items))


@pytest.mark.parametrize("num_items", [0, MOST_ITEMS + 1])
def test_numbers_of_items_that_are_not_drawn_from(num_items: int) -> None:
    with pytest.raises(AssertionError):
        uniform_indices(split_seed(0), np.int32(0), 8, num_items)
