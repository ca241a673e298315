"""Closed forms of a finite MDP: what learned values and features are held against.

P is the state-to-state matrix of the target policy, Psi = (I - gamma P)^-1 its successor measure
(Dayan 1993), G [S, T] the cumulants of T tasks: their values are Psi G.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg

from pvn.errors import UserError
from pvn.tabular.subspace import principal_angle_cosines

NUM_REWARDS = 100  # value functions whose best linear fit is measured
DEGENERATE = 1e-9  # eigenvalues nearer than this are equal: no subspace lies between them


def uniform_policy_transition(transition: np.ndarray) -> np.ndarray:
    """P, float64 [S, S]: one step under the uniformly random policy, of transition [A, S, S]."""
    return transition.mean(axis=0)


def successor_measure(policy_transition: np.ndarray, gamma: float) -> np.ndarray:
    """Psi, float64 [S, S]: discounted visits to z from s on, that at s itself included.

    Raises:
      UserError: gamma outside [0, 1), for which there is no such matrix.
    """
    if not 0 <= gamma < 1:
        raise UserError(f"discount: {gamma}, expected a number in [0, 1)")
    return np.linalg.inv(np.eye(len(policy_transition)) - gamma * policy_transition)


def exact_action_values(transition: np.ndarray, cumulants: np.ndarray, gamma: float) -> np.ndarray:
    """Q, float64 [S, T, A], of the uniformly random policy: G + gamma P_a Psi G.

    transition: [A, S, S]. cumulants: G, [S, T], of the state an action is taken in.
    """
    values = successor_measure(uniform_policy_transition(transition), gamma) @ cumulants
    return cumulants[:, :, None] + gamma * np.einsum("asz,zt->sta", transition, values)


def stationary_distribution(policy_transition: np.ndarray) -> np.ndarray:
    """xi, float64 [S], with xi P = xi; of a chain that forgets where it started."""
    size = len(policy_transition)
    equations = np.vstack([policy_transition.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0), rcond=None)[0]


def _gaps(spectrum: np.ndarray) -> np.ndarray:
    """Indices after which the descending `spectrum` drops, int64; the last is its length."""
    return np.append(np.flatnonzero(-np.diff(spectrum) > DEGENERATE) + 1, len(spectrum))


def largest_dimension(policy_transition: np.ndarray, successor: np.ndarray, at_most: int) -> int:
    """The largest d up to `at_most` of which P and Psi both have a top subspace.

    Raises:
      UserError: there is none.
    """
    eigenvalues = np.sort(scipy.linalg.eigvals(policy_transition).real)[::-1]
    common = np.intersect1d(_gaps(eigenvalues), _gaps(scipy.linalg.svdvals(successor)))
    if common[0] > at_most:
        raise UserError(
            f"config.num_features: {at_most}, expected {common[0]} or more: of fewer dimensions no "
            "subspace is the top one (at discount 0, or where no state leads to another, all are "
            "alike)"
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
            f"config.dimension: {dimension} divides {what} that are equal "
            f"({spectrum[dimension]:.4f}), so that no subspace is the top one; expected one of "
            f"{', '.join(str(d) for d in sorted(near))}"
        )


def _top_invariant_subspace(
    matrix: np.ndarray, dimension: int, score: Callable[[np.ndarray], np.ndarray], what: str
) -> tuple[np.ndarray, np.ndarray]:
    """(orthonormal basis float64 [S, d], eigenvalues [d]), of the eigenvalues that score highest.

    A basis of the ordered real Schur form; complex pairs share their score, and stay together.
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
    """Whether P is, so that its eigenvectors are the singular vectors of Psi."""
    return np.allclose(policy_transition, policy_transition.T, rtol=0, atol=1e-12)


def proto_value_functions(
    policy_transition: np.ndarray, dimension: int
) -> tuple[np.ndarray, np.ndarray]:
    """Top invariant subspace of P: (orthonormal basis float64 [S, d], eigenvalues [d]).

    If P is symmetric the basis are its eigenvectors with the largest eigenvalues, the proto-value
    functions (Mahadevan & Maggioni 2007). If not, it is a Schur basis of the eigenvalues with the
    largest real parts, to which TD converges (Le Lan et al. 2023).

    Raises:
      UserError: d larger than S, or equal eigenvalues (or a complex pair) on both sides of d.
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
    """Where d features learned by TD on T tasks come to rest: (basis float64 [S, d], values [d]).

    States uniform, state values. With L = Psi^-1 the heads W [F, T] rest where F^T (L F W - G) = 0
    and the features where (L F W - G) W^T = 0, so that L F and G G^T F have one span: that of F is
    an invariant subspace of Psi G G^T. Of those the stable one has the eigenvalues z with the
    smallest real parts of 1/z. With orthonormal tasks, G G^T = I, it is that of
    `proto_value_functions` (Le Lan et al. 2023). Regression on returns finds the
    `left_singular_vectors` of Psi G instead, the top eigenvectors of Psi G G^T Psi^T.

    successor: Psi, [S, S]. cumulants: G, [S, T].

    Raises:
      UserError: as `proto_value_functions`; also fewer tasks than d.
    """

    def score(values: np.ndarray) -> np.ndarray:
        # Of functions that no task tells of, z is 0: they come last, all alike.
        some = np.abs(values) > DEGENERATE
        return np.where(some, -np.real(1 / np.where(some, values, 1)), -1 / DEGENERATE)

    return _top_invariant_subspace(
        successor @ cumulants @ cumulants.T, dimension, score, "eigenvalues of the tasks' values"
    )


def _fix_signs(vectors: np.ndarray) -> np.ndarray:
    """The same up to their signs: a constant one is above 0."""
    return vectors * np.where(vectors.sum(axis=0) < -1e-9, -1, 1)[None]


def left_svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All left singular vectors, float64 [S, S], and the singular values [S], of [S, T]."""
    if matrix.shape[1] > 4 * matrix.shape[0]:  # many more tasks than states: of the Gram matrix
        squares, vectors = scipy.linalg.eigh(matrix @ matrix.T)
        return vectors[:, ::-1], np.sqrt(np.maximum(squares[::-1], 0))
    vectors, values, _ = scipy.linalg.svd(matrix)
    return vectors, np.append(values, np.zeros(len(matrix) - len(values)))


def left_singular_vectors(matrix: np.ndarray, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [S, d], singular values [d]) of a matrix [S, T]: the best rank-d fit spans them.

    Eckart & Young (1936). With the successor measure as matrix, that is what regression on Monte
    Carlo returns of the S state-equality tasks converges to.

    Raises:
      UserError: d larger than S, or equal singular values on both sides of d.
    """
    vectors, values = left_svd(matrix)
    _check_dimension(dimension, values, "singular values")
    return vectors[:, :dimension], values[:dimension]


def learned_subspace(
    loss: str, successor: np.ndarray, cumulants: np.ndarray, dimension: int
) -> np.ndarray:
    """Orthonormal basis float64 [S, d] of the span that features of T tasks tend to.

    `td_subspace`, or for the loss monte_carlo the top left singular vectors of Psi G, the best fit.
    Fewer columns where there are fewer independent tasks than d. With random sets, of which each
    state is a member with probability p, E[G G^T] = p (1 - p) I + p^2 1 1^T: as they grow many,
    both are what they are with state equality, but for the constant direction's weight.

    Raises:
      UserError: equal values on both sides of d, so that it is not unique.
    """
    dimension = min(dimension, int(np.linalg.matrix_rank(cumulants)))
    if loss == "td":
        return td_subspace(successor, cumulants, dimension)[0]
    return left_singular_vectors(successor @ cumulants, dimension)[0]


class Exact(NamedTuple):
    """What learned features are compared with."""

    policy_transition: np.ndarray  # P, [S, S], of the uniformly random policy
    successor: np.ndarray  # Psi, [S, S]
    proto_values: np.ndarray  # [S, d]
    eigenvalues: np.ndarray  # [d]
    singular_vectors: np.ndarray  # [S, d], of the successor measure
    singular_values: np.ndarray  # [d]
    values: np.ndarray  # [S, NUM_REWARDS], of random rewards


def closed_forms(
    policy_transition: np.ndarray, gamma: float, dimension: int, at_most: int, seed: int
) -> Exact:
    """The exact subspaces of a chain P [S, S], and value functions of normal random rewards.

    dimension: d; 0 for the largest that there is up to `at_most`.
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
    """Smallest cosine between `proto_values` [S, d] and the span that features of tasks tend to.

    None where that is not unique.
    """
    try:
        tends_to = learned_subspace(loss, successor, cumulants, proto_values.shape[1])
    except UserError:
        return None
    return float(principal_angle_cosines(tends_to, proto_values)[-1])
