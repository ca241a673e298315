"""Closed forms of a finite MDP, with which learned values and features are compared.

P [S, S] is the transition matrix under the target policy. Psi = (I - gamma P)^-1 is its successor
measure (Dayan 1993). G [S, T] are the cumulants of T tasks. The value functions of the tasks are
Psi G. The top subspace of dimension d is that of the d largest eigenvalues or singular values. It
is unique if the spectrum drops after the first d.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg

from pvn.errors import UserError
from pvn.tabular.subspace import principal_angle_cosines

NUM_REWARDS = 100  # number of random rewards whose value functions are fitted
DEGENERATE = 1e-9  # eigenvalues with a smaller difference count as equal


def uniform_policy_transition(transition: np.ndarray) -> np.ndarray:
    """P, float64 [S, S]: transition [A, S, S] under the uniformly random policy."""
    return transition.mean(axis=0)


def successor_measure(policy_transition: np.ndarray, gamma: float) -> np.ndarray:
    """Psi, float64 [S, S]: row s has the expected discounted number of visits to each state.

    The visit to s at timestep 0 counts.

    policy_transition: P, [S, S].

    Raises:
      UserError: gamma is not in [0, 1).
    """
    if not 0 <= gamma < 1:
        raise UserError(f"discount: {gamma}, expected a number in [0, 1)")
    return np.linalg.inv(np.eye(len(policy_transition)) - gamma * policy_transition)


def exact_action_values(transition: np.ndarray, cumulants: np.ndarray, gamma: float) -> np.ndarray:
    """Q, float64 [S, T, A], of the uniformly random policy: G + gamma P_a Psi G.

    transition: [A, S, S]. cumulants: G, [S, T], of the state in which the action is taken.
    """
    values = successor_measure(uniform_policy_transition(transition), gamma) @ cumulants
    return cumulants[:, :, None] + gamma * np.einsum("asz,zt->sta", transition, values)


def _gaps(spectrum: np.ndarray) -> np.ndarray:
    """Indices after which the descending `spectrum` drops, int64; the last is its length."""
    return np.append(np.flatnonzero(-np.diff(spectrum) > DEGENERATE) + 1, len(spectrum))


def largest_dimension(policy_transition: np.ndarray, successor: np.ndarray, at_most: int) -> int:
    """The largest d up to `at_most` for which P and Psi both have a unique top subspace.

    Raises:
      UserError: there is no such d.
    """
    eigenvalues = np.sort(scipy.linalg.eigvals(policy_transition).real)[::-1]
    common = np.intersect1d(_gaps(eigenvalues), _gaps(scipy.linalg.svdvals(successor)))
    if common[0] > at_most:
        raise UserError(
            f"config.num_features: {at_most}, expected {common[0]} or more: with fewer dimensions "
            "no top subspace is unique (at discount 0, or if no state leads to another, all "
            "eigenvalues or singular values are equal)"
        )
    return int(common[common <= at_most].max())


def _check_dimension(dimension: int, spectrum: np.ndarray, what: str) -> None:
    """Raises `UserError` unless the descending `spectrum` drops after its first `dimension`."""
    if not 1 <= dimension <= len(spectrum):
        raise UserError(f"config.dimension: {dimension}, expected 1 to {len(spectrum)} (states)")
    gaps = _gaps(spectrum)
    if dimension not in gaps:
        near = sorted(gaps, key=lambda d: abs(d - dimension))[:3]
        raise UserError(
            f"config.dimension: {dimension} separates equal {what} "
            f"({spectrum[dimension]:.4f}), so the top subspace is not unique; expected one of "
            f"{', '.join(str(d) for d in sorted(near))}"
        )


def _top_invariant_subspace(
    matrix: np.ndarray, dimension: int, score: Callable[[np.ndarray], np.ndarray], what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Invariant subspace of the eigenvalues with the highest scores, by the real Schur form.

    Both eigenvalues of a complex pair have the same score, so they are not separated.

    Returns:
      (orthonormal basis float64 [S, d], eigenvalues complex [d]).

    Raises:
      UserError: equal scores on both sides of d; `what` names the eigenvalues in the message.
    """
    values = scipy.linalg.eigvals(matrix)
    values = values[np.argsort(-score(values), kind="stable")]
    scores = score(values)
    _check_dimension(dimension, scores, what)
    least = -np.inf if dimension == len(values) else scores[dimension - 1 : dimension + 1].mean()
    _, vectors, _ = scipy.linalg.schur(
        matrix,
        output="real",
        sort=lambda real, imaginary: score(np.array([complex(real, imaginary)]))[0] > least,
    )
    return _fix_signs(vectors[:, :dimension]), values[:dimension]


def is_symmetric(policy_transition: np.ndarray) -> bool:
    """Whether P is symmetric. Then its eigenvectors are the singular vectors of Psi."""
    return np.allclose(policy_transition, policy_transition.T, rtol=0, atol=1e-12)


def proto_value_functions(
    policy_transition: np.ndarray, dimension: int
) -> tuple[np.ndarray, np.ndarray]:
    """Top invariant subspace of P: (orthonormal basis float64 [S, d], eigenvalues [d]).

    If P is symmetric, the basis is the eigenvectors with the largest eigenvalues, the proto-value
    functions (Mahadevan & Maggioni 2007). If P is not symmetric, it is a Schur basis for the
    eigenvalues with the largest real parts; TD converges to its span (Le Lan et al. 2023).

    Raises:
      UserError: d is larger than S, or d separates equal eigenvalues or a complex pair.
    """
    if is_symmetric(policy_transition):
        values, vectors = scipy.linalg.eigh(policy_transition)
        values, vectors = values[::-1], vectors[:, ::-1]
        _check_dimension(dimension, values, "eigenvalues")
        return _fix_signs(vectors[:, :dimension]), values[:dimension]
    return _top_invariant_subspace(policy_transition, dimension, np.real, "eigenvalues")


def td_subspace(
    successor: np.ndarray, cumulants: np.ndarray, dimension: int
) -> tuple[np.ndarray, np.ndarray]:
    """The subspace to which d features converge when TD learns state values of T tasks.

    States are drawn uniformly. F [S, d] are the features, W [d, T] the heads, and L = Psi^-1. The
    heads converge where F^T (L F W - G) = 0, and the features where (L F W - G) W^T = 0. So L F and
    G G^T F have the same span, and the span of F is an invariant subspace of Psi G G^T. The stable
    one has the eigenvalues z with the smallest real parts of 1/z. If the tasks are orthonormal,
    G G^T = I, it is that of `proto_value_functions` (Le Lan et al. 2023). Regression on returns
    converges instead to the `left_singular_vectors` of Psi G, the top eigenvectors of
    Psi G G^T Psi^T.

    Args:
      successor: Psi, [S, S].
      cumulants: G, [S, T].
      dimension: d.

    Returns:
      (orthonormal basis float64 [S, d], eigenvalues z complex [d]).

    Raises:
      UserError: as `proto_value_functions`; also if there are fewer independent tasks than d, and
        d is smaller than S.
    """

    def score(values: np.ndarray) -> np.ndarray:
        # z is 0 for functions that no task depends on. They come last, with equal scores.
        some = np.abs(values) > DEGENERATE
        return np.where(some, -np.real(1 / np.where(some, values, 1)), -1 / DEGENERATE)

    return _top_invariant_subspace(
        successor @ cumulants @ cumulants.T, dimension, score, "eigenvalues of the tasks' values"
    )


def _fix_signs(vectors: np.ndarray) -> np.ndarray:
    """The same vectors with signs such that no sum of a vector is negative."""
    return vectors * np.where(vectors.sum(axis=0) < -1e-9, -1, 1)[None]


def left_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(all left singular vectors float64 [S, S], singular values [S]) of a matrix [S, T]."""
    if matrix.shape[1] > 4 * matrix.shape[0]:  # the small Gram matrix is faster
        squares, vectors = scipy.linalg.eigh(matrix @ matrix.T)
        return vectors[:, ::-1], np.sqrt(np.maximum(squares[::-1], 0))
    vectors, values, _ = scipy.linalg.svd(matrix)
    return vectors, np.append(values, np.zeros(len(matrix) - len(values)))


def left_singular_vectors(matrix: np.ndarray, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """(top left singular vectors float64 [S, d], singular values [d]) of a matrix [S, T].

    They span the columns of the best fit of rank d (Eckart & Young 1936). If the matrix is the
    successor measure, regression on Monte Carlo returns of the S state-equality tasks converges to
    their span.

    Raises:
      UserError: d is larger than S, or d separates equal singular values.
    """
    vectors, values = left_svd(matrix)
    _check_dimension(dimension, values, "singular values")
    return vectors[:, :dimension], values[:dimension]


def learned_subspace(
    loss: str, successor: np.ndarray, cumulants: np.ndarray, dimension: int
) -> np.ndarray:
    """Orthonormal basis float64 [S, d] of the span to which features converge on T tasks.

    For the loss `td` it is `td_subspace`; for `monte_carlo` it is the top left singular vectors of
    Psi G. It has fewer columns if there are fewer independent tasks than d.

    For one random set, in which each state is with probability p, E[G G^T] is
    p (1 - p) I + p^2 1 1^T. So with many random sets both subspaces approach those of state
    equality, except that the constant function has another weight.

    Raises:
      UserError: d separates equal values, so the subspace is not unique.
    """
    dimension = min(dimension, int(np.linalg.matrix_rank(cumulants)))
    if loss == "td":
        return td_subspace(successor, cumulants, dimension)[0]
    return left_singular_vectors(successor @ cumulants, dimension)[0]


class Exact(NamedTuple):
    """The closed forms with which learned features are compared."""

    policy_transition: np.ndarray  # P, [S, S], of the uniformly random policy
    successor: np.ndarray  # Psi, [S, S]
    proto_values: np.ndarray  # [S, d]
    eigenvalues: np.ndarray  # [d]
    singular_vectors: np.ndarray  # [S, d], of the successor measure
    singular_values: np.ndarray  # [d]
    values: np.ndarray  # [S, NUM_REWARDS], value functions of random rewards


def closed_forms(
    policy_transition: np.ndarray, gamma: float, dimension: int, at_most: int, seed: int
) -> Exact:
    """The exact subspaces of P [S, S], and value functions of random rewards.

    Args:
      policy_transition: P.
      gamma: discount.
      dimension: d; 0: `largest_dimension` up to `at_most`.
      at_most: number of features.
      seed: of the rewards, which are standard normal.

    Raises:
      UserError: a subspace of dimension d is not unique, or gamma is not in [0, 1).
    """
    successor = successor_measure(policy_transition, gamma)
    dimension = dimension or largest_dimension(policy_transition, successor, at_most)
    rewards = np.random.default_rng(seed).normal(size=(len(successor), NUM_REWARDS))
    return Exact(
        policy_transition,
        successor,
        *proto_value_functions(policy_transition, dimension),
        *left_singular_vectors(successor, dimension),
        successor @ rewards,
    )


def closed_form_cosine(
    loss: str, successor: np.ndarray, cumulants: np.ndarray, proto_values: np.ndarray
) -> float | None:
    """Smallest cosine between `proto_values` [S, d] and the `learned_subspace` of the tasks.

    None if that subspace is not unique.
    """
    try:
        learned = learned_subspace(loss, successor, cumulants, proto_values.shape[1])
    except UserError:
        return None
    return float(principal_angle_cosines(learned, proto_values)[-1])
