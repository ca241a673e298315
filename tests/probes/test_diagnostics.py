import numpy as np
import pytest

from pvn.probes import diagnostics


def test_effective_rank_of_known_singular_values() -> None:
    # Shares of the sum: 0.5, 0.8, 0.995, 1.
    assert diagnostics.effective_rank(np.diag([500.0, 300.0, 195.0, 5.0])) == 3
    assert diagnostics.effective_rank(np.diag([500.0, 300.0, 195.0, 5.0]), delta=0.25) == 2
    assert diagnostics.effective_rank(np.ones((7, 3))) == 1
    assert diagnostics.effective_rank(np.zeros((7, 3))) == 0


def test_dead_units_and_norms() -> None:
    assert diagnostics.dead_units(np.array([[0.0, 1, 0], [0, 0, 2]])) == 1
    np.testing.assert_allclose(diagnostics.norms(np.array([[3.0, 4], [0, 0]])), [5, 0])


@pytest.mark.parametrize("penalty", [1e-3, 0.5])
def test_effective_dimension_by_hand(penalty: float) -> None:
    # One feature: variance v, lambda = penalty v, so M h_i = 1 + (x_i - mean)^2 / (v (1 + penalty))
    x = np.array([[0.0], [0], [0], [4]])  # mean 1, variance 3
    found = diagnostics.effective_dimension(x, penalty)
    assert found == pytest.approx(1 + 9 / 3 / (1 + penalty))
    # An orthogonal feature that is on in another state, and one that is dead: trace / 3 = 2.
    y = np.array([[1.0, -1, 1, -1]]).T * np.sqrt(3)
    whole = diagnostics.effective_dimension(np.column_stack([x, y, 0 * y]), penalty)
    matrix = np.cov(np.column_stack([x, y, 0 * y]).T, bias=True) + penalty * 2 * np.eye(3)
    rows = np.column_stack([x - 1, y, 0 * y])
    expected = 1 + max(row @ np.linalg.inv(matrix) @ row for row in rows)
    assert whole == pytest.approx(expected)
    assert diagnostics.effective_dimension(np.ones((4, 2))) == 1


def test_effective_dimension_has_its_bounds() -> None:
    # Four states, three independent directions: every state is fitted by itself.
    assert diagnostics.effective_dimension(np.eye(4), 1e-9) == pytest.approx(4, rel=1e-6)
    # Without a penalty, a linear map of the features changes nothing.
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 3))
    mapped = x @ random.normal(size=(3, 3)) + 7
    one, other = (diagnostics.effective_dimension(each, 1e-12) for each in (x, mapped))
    assert one == pytest.approx(other, rel=1e-6)
    # The diagonal of the hat matrix of least squares.
    design = np.column_stack([np.ones(50), x])
    hat = design @ np.linalg.pinv(design)
    assert one == pytest.approx(50 * hat.diagonal().max(), rel=1e-6)


def test_cka_in_closed_form() -> None:
    x = np.array([[1.0], [-1], [1], [-1]])
    y = np.array([[1.0], [1], [-1], [-1]])
    assert diagnostics.linear_cka(x, y) == pytest.approx(0, abs=1e-12)
    assert diagnostics.linear_cka(x, -3 * x + 5) == pytest.approx(1)
    # Centred one-dimensional features: the square of the correlation.
    assert diagnostics.linear_cka(x, x + y) == pytest.approx(0.5)
    # (x, y) has |X'Y|^2 = 16 against |(x, y)'(x, y)| = 4 sqrt 2 and |x'x| = 4.
    assert diagnostics.linear_cka(np.column_stack([x, y]), x) == pytest.approx(1 / np.sqrt(2))
    assert np.isnan(diagnostics.linear_cka(x, 0 * x + 3))


@pytest.mark.parametrize("columns", [3, 30])
def test_cka_does_not_change_with_rotation_and_scale(columns: int) -> None:
    """More features than states take the other formula."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, columns)), random.normal(size=(20, 4))
    rotation, _ = np.linalg.qr(random.normal(size=(columns, columns)))
    one = diagnostics.linear_cka(x, y)
    assert 0 < one < 1
    assert diagnostics.linear_cka(y, 2 * x @ rotation + 1) == pytest.approx(one)
    centred = x - x.mean(axis=0), y - y.mean(axis=0)
    cross = np.linalg.norm(centred[0].T @ centred[1]) ** 2
    sizes = [np.linalg.norm(each.T @ each) for each in centred]
    assert one == pytest.approx(cross / (sizes[0] * sizes[1]))
