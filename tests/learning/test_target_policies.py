"""What a target network keeps, and the values of the next states from it."""

import jax
import numpy as np
import pytest

from benchmarks.published import plain
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.networks.network import Network
from pvn.networks.proto_value import make_proto_value_network

FEATURES = Network(init=lambda key, x: {}, apply=lambda params, x: x)


def test_values_of_the_next_states_by_hand() -> None:
    q = np.float32([[[1, 2, 6], [0, 3, 0]], [[4, 4, 4], [9, 9, 9]]])  # B = 2, T = 2, A = 3
    network = plain(Network(init=lambda key, x: {}, apply=lambda params, x: x))
    found = {
        name: policy.value(network, policy.keep(network, {}), q, np.array([2, 0]))
        for name, policy in TARGET_POLICIES.items()
    }
    np.testing.assert_allclose(found["uniform"], [[3, 1], [4, 9]])
    np.testing.assert_allclose(found["behaviour"], [[6, 0], [4, 9]])
    np.testing.assert_allclose(found["greedy"], [[6, 3], [4, 9]])  # each task has its own best


@pytest.mark.parametrize("name", sorted(TARGET_POLICIES))
def test_a_target_network_may_average_what_it_keeps(name: str) -> None:
    """The mean of two kept networks is what is kept of the mean of the networks."""
    policy = TARGET_POLICIES[name]
    network = make_proto_value_network(FEATURES, 5, 3)
    s_t = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    params = [network.init(jax.random.key(seed), s_t) for seed in range(2)]
    mean = jax.tree.map(lambda *x: sum(x) / 2, *params)
    kept = jax.tree.map(lambda *x: sum(x) / 2, *(policy.keep(network, each) for each in params))
    a_t = np.array([0, 1, 2, 1])
    expected = policy.value(network, policy.keep(network, mean), s_t, a_t)
    np.testing.assert_allclose(
        policy.value(network, kept, s_t, a_t), expected, rtol=1e-5, atol=1e-6
    )
