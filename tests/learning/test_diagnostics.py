import numpy as np
import pytest

from pvn.learning.diagnostics import activation_metrics, dead_units, effective_rank


def test_effective_rank_of_known_singular_values() -> None:
    # Shares of the sum: 0.5, 0.8, 0.995, 1.
    assert effective_rank(np.diag([500.0, 300.0, 195.0, 5.0])) == 3
    assert effective_rank(np.diag([500.0, 300.0, 195.0, 5.0]), threshold=0.75) == 2
    assert effective_rank(np.ones((7, 3))) == 1
    assert effective_rank(np.zeros((7, 3))) == 0


def test_dead_units() -> None:
    assert dead_units(np.array([[0.0, 1, 0], [0, 0, 2]])) == 1


def test_activation_metrics() -> None:
    # Rates 0.5, 0.25, 0 and 1: the last two say nothing.
    cumulant = np.array([[1.0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    metrics = activation_metrics(cumulant)
    assert metrics["activation_mean"] == pytest.approx(0.4375)
    assert metrics["activation_std"] == pytest.approx(np.std([0.5, 0.25, 0, 1]))
    assert metrics["dead_tasks"] == 2
