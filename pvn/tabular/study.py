"""Learns features on a small exact MDP and compares them with the closed forms."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pvn.errors import UserError
from pvn.indicators.tasks import Tasks
from pvn.learning.loop import Logged
from pvn.learning.optimizers import make_optimizer
from pvn.learning.train_step import average_target
from pvn.networks.network import Network
from pvn.tabular.exact import (
    NUM_REWARDS,
    Exact,
    closed_form_cosine,
    exact_action_values,
    is_symmetric,
    learned_subspace,
)
from pvn.tabular.learner import TabularProblem, features_of, learn
from pvn.tabular.mdp import Mdp
from pvn.tabular.subspace import basis, best_fit_error, fit_error, principal_angle_cosines
from pvn.tabular.tasks import TaskMaker, cumulants_of

LOSSES = ("td", "monte_carlo")
NUM_DRAWS = 10  # draws of random sets for each point of a curve


class LearningSettings(NamedTuple):
    """Settings of learning; the fields of configs/four_rooms.py explain them."""

    optimizer: str
    learning_rate: float
    adam_epsilon: float
    target_decay: float
    num_steps: int
    batch_size: int
    log_every: int
    seed: int


class Study(NamedTuple):
    """An MDP, its closed forms, and the encoder and tasks to learn with."""

    mdp: Mdp
    discount: float
    exact: Exact
    transition: np.ndarray  # float64 [A, S, S], to learn on; A = 1: P of the uniform policy
    encoder: Network
    num_features: int
    observation: np.ndarray  # [S, ...], input of the encoder
    tasks_of: TaskMaker

    def train(
        self, tasks: Tasks, loss: str, learning: LearningSettings
    ) -> Iterator[tuple[Logged, np.ndarray]]:
        """Trains, and yields metrics and features float32 [S, F] every `log_every` steps.

        loss: one of `LOSSES`.

        Raises:
          UserError: the loss or its gradient is not finite.
        """
        returns = None
        if loss == "monte_carlo":
            values = exact_action_values(self.transition, cumulants_of(tasks), self.discount)
            returns = values.astype(np.float32)
        training = learn(
            TabularProblem(self.transition, self.observation, tasks, self.discount, returns),
            self.encoder,
            optimizer=make_optimizer(
                learning.optimizer,
                learning_rate=learning.learning_rate,
                epsilon=learning.adam_epsilon,
                max_gradient_norm=0.0,
            ),
            target_update=average_target(learning.target_decay),
            num_steps=learning.num_steps,
            batch_size=learning.batch_size,
            log_every=learning.log_every,
            seed=learning.seed,
        )
        for logged in training:
            yield logged, features_of(self.encoder, logged.state, self.observation)

    def cosines(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Principal-angle cosines between features [S, F] and each exact subspace, [d] each."""
        return {
            name: principal_angle_cosines(features, getattr(self.exact, name))
            for name in ("proto_values", "singular_vectors")
        }

    def metrics(self, features: np.ndarray) -> dict[str, float]:
        """Metrics that compare features [S, F] with the closed forms, for metrics.jsonl."""
        smallest = {f"cosine_{k}": float(v[-1]) for k, v in self.cosines(features).items()}
        return smallest | {
            "fit_error": fit_error(features, self.exact.values),
            "numerical_rank": basis(features).shape[1],
        }


def summary_of(study: Study, tasks: Tasks, features: np.ndarray, loss: str) -> dict[str, Any]:
    """The content of subspace.json, of learned features [S, F]."""
    exact, cosines = study.exact, study.cosines(features)
    cumulants = cumulants_of(tasks)
    varying = np.ptp(cumulants, axis=0) > 0
    symmetric = is_symmetric(exact.policy_transition)
    complex_pairs = [[z.real, z.imag] for z in exact.eigenvalues.tolist()]
    summary: dict[str, Any] = {
        "dimension": exact.proto_values.shape[1],
        "numerical_rank": basis(features).shape[1],
        "num_tasks": len(varying),
        "dead_tasks": int(np.sum(~varying)),
        "proto_value_functions": {
            "cosines": cosines["proto_values"].tolist(),
            "eigenvalues": exact.eigenvalues.tolist() if symmetric else complex_pairs,
            "fit_error": fit_error(exact.proto_values, exact.values),
        },
        "successor_measure": {
            "cosines": cosines["singular_vectors"].tolist(),
            "singular_values": exact.singular_values.tolist(),
            "fit_error": fit_error(exact.singular_vectors, exact.values),
        },
        "value_functions": {
            "num_rewards": NUM_REWARDS,
            "fit_error": fit_error(features, exact.values),
            "best_fit_error": best_fit_error(study.num_features, exact.values),
        },
    }
    if len(study.transition) > 1:
        return summary  # the closed form is for state values, not for action values
    try:
        closed_form = learned_subspace(loss, exact.successor, cumulants, summary["dimension"])
    except UserError:
        return summary  # the subspace is not unique
    summary["these_tasks"] = {
        "cosines": principal_angle_cosines(features, closed_form).tolist(),
        "closed_form_to_proto_value_functions": principal_angle_cosines(
            closed_form, exact.proto_values
        ).tolist(),
    }
    return summary


def sets_curve(
    study: Study, counts: Sequence[int], last_features: Callable[[Tasks, str, str], np.ndarray]
) -> dict[str, Any]:
    """Smallest cosine to the proto-value functions for several numbers of random sets.

    Args:
      study: the MDP.
      counts: numbers of sets to learn from.
      last_features: trains, (tasks, label of the progress bar, loss) -> features [S, F].

    Returns:
      `counts`; `learned_cosine`: by loss, one for each count; `closed_form_cosines`: by loss, for
      each count those of NUM_DRAWS draws of the sets. The first draw is the one learned from. None:
      the closed form is not unique.

    Raises:
      UserError: the loss or its gradient is not finite.
    """
    proto_values = study.exact.proto_values
    learned: dict[str, list[float]] = {loss: [] for loss in LOSSES}
    closed: dict[str, list[list[float | None]]] = {loss: [] for loss in LOSSES}
    for count in counts:
        draws = [study.tasks_of("random_sets", count, draw) for draw in range(NUM_DRAWS)]
        for loss in LOSSES:
            features = last_features(draws[0], f"{count:,} random sets, {loss}", loss)
            learned[loss].append(float(principal_angle_cosines(features, proto_values)[-1]))
            closed[loss].append(
                [
                    closed_form_cosine(
                        loss, study.exact.successor, cumulants_of(sets), proto_values
                    )
                    for sets in draws
                ]
            )
    return {
        "counts": list(counts),
        "learned_cosine": learned,
        "closed_form_cosines": closed,
    }
