import jax
import numpy as np
import pytest

from pvn.networks.mapping import map_states

STATES = np.arange(20, dtype=np.uint8).reshape(10, 2)


@pytest.mark.parametrize(
    ("index", "batch_size", "gathered", "counts"),
    [
        ([], 4, [], []),
        ([7], 3, [[7, 7, 7]], [1]),
        ([4, 2, 9], 3, [[4, 2, 9]], [3]),
        ([4, 2, 9, 1, 1], 3, [[4, 2, 9], [1, 1, 1]], [3, 2]),
        ([0, 5, 6, 8, 3, 2, 7], 3, [[0, 5, 6], [8, 3, 2], [7, 7, 7]], [3, 3, 1]),
        ([3, 1], 1, [[3], [1]], [1, 1]),
    ],
)
def test_batches_are_full_and_results_in_order(index, batch_size, gathered, counts):
    seen = []

    def states(rows):
        assert rows.dtype == np.int64
        seen.append(rows.tolist())
        return STATES[rows]

    parts = list(map_states(lambda x: x.sum(1), states, np.array(index, np.int64), batch_size))
    assert seen == gathered
    assert [len(part) for part in parts] == counts
    # The sum of row i of STATES is 2 i + 2 i + 1.
    assert [int(x) for part in parts for x in part] == [4 * i + 1 for i in index]


def test_a_jitted_function_is_traced_once():
    traced = []

    @jax.jit
    def function(x):
        traced.append(x.shape)
        return x * 2

    for count in (5, 1, 8, 0):
        (*parts,) = map_states(function, lambda rows: STATES[rows], np.arange(count), 4)
        assert all(isinstance(part, np.ndarray) for part in parts)
    assert traced == [(4, 2)]


def test_states_are_gathered_when_their_batch_is_due():
    seen = []
    parts = map_states(lambda x: x, lambda rows: seen.append(rows) or rows, np.arange(6), 2)
    next(parts)
    assert [rows.tolist() for rows in seen] == [[0, 1]]
