"""Learns features of a small exact MDP and holds them against the subspaces that theory promises.

    python -m pvn.tabular --config=configs/four_rooms.py --workdir=runs/four_rooms

The run directory holds mdp.npz, features.npy, subspace.json, metrics.jsonl and pictures; a run is
short, and the same command makes it again. docs/tabular.md explains the pictures.
"""

import contextlib
import functools
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.errors import UserError
from pvn.fields import choice, real, text, whole, wholes
from pvn.files import write_json, write_whole
from pvn.indicators.registry import INDICATORS
from pvn.learning.optimizers import OPTIMIZERS, make_optimizer
from pvn.learning.train_step import TrainState, average_target, mean_metrics
from pvn.networks.encoders import make_encoder
from pvn.run_directory import MetricsWriter, open_run
from pvn.tabular import pictures
from pvn.tabular.exact import (
    NUM_REWARDS,
    action_values,
    closed_form_cosine,
    closed_forms,
    is_symmetric,
    learned_subspace,
    successor_measure,
    uniform_policy_transition,
)
from pvn.tabular.learner import Environment, features_of, learn
from pvn.tabular.mdp import make_mdp
from pvn.tabular.rendering import render
from pvn.tabular.subspace import (
    basis,
    best_fit_error,
    fit_error,
    principal_angle_cosines,
    project,
)
from pvn.tabular.table import table_encoder
from pvn.tabular.tasks import Tasks, make_tasks

_CONFIG = cfg.define_config("configs/four_rooms.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run that is in --workdir.")

LOSSES = ("td", "monte_carlo")

FIELDS = {
    "mdp": text(),
    "size": whole(2),
    "num_actions": whole(1),
    "branching": whole(1),
    "mdp_seed": whole(0),
    "discount": real(0, 1, closed="[)"),
    "encoder": text(),
    "width": whole(1),
    "num_features": whole(1),
    "predict": choice("state_values", "action_values"),
    "indicator": choice("state_equality", "random_sets", *INDICATORS),
    "num_tasks": whole(0),
    "proportion": real(0, 1, closed="()"),
    "tasks_per_network": whole(1),
    "loss": choice(*LOSSES),
    "target_decay": real(0, 1, closed="[)"),
    "num_steps": whole(1),
    "batch_size": whole(0),
    "optimizer": choice(*OPTIMIZERS),
    "learning_rate": real(0, float("inf"), closed="()"),
    "adam_epsilon": real(0, float("inf"), closed="()"),
    "seed": whole(0, 2**31 - 1),
    "log_every": whole(1),
    "dimension": whole(0),
    "task_counts": wholes(1),
}
OWNS = (
    *("mdp.npz", "features.npy", "subspace.json", "metrics.jsonl", "tensorboard"),
    *("indicators.png", "eigenfunctions.png", "convergence.png", "tasks.png"),
)
NUM_DRAWS = 10  # of random sets, for the curves of tasks.png


def figure_one(
    successor: np.ndarray, tasks_of: Callable[[str, int], Tasks], tasks_per_network: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, an indicator [S], its values [S]) of a state-equality and a random-network task.

    The second is left out where the states cannot be drawn, or no random set of them is on for
    some only.
    """
    panels = []
    counts = {"state_equality": len(successor), "random_network": tasks_per_network}
    for name, count in counts.items():
        try:
            cumulant = tasks_of(name, count).cumulant
        except UserError as error:
            console.say(f"indicators.png: without a random network's set ({error})")
            continue
        varying = cumulant[:, np.ptp(cumulant, axis=0) > 0]
        if varying.size:
            shown = varying[:, varying.shape[1] // 4]
            panels.append((name.replace("_", " "), shown, successor @ shown))
    return panels


def tabular(c: ml_collections.FrozenConfigDict, workdir: Path, overwrite: bool) -> None:
    """Runs the experiment `c` in `workdir`."""
    # ---------------------------------------------------------------- the MDP and its closed forms
    mdp = make_mdp(
        c.mdp,
        size=c.size,
        num_actions=c.num_actions,
        branching=c.branching,
        seed=c.mdp_seed,
        discount=c.discount,
    )
    if c.dimension > c.num_features:
        raise UserError(
            f"config.dimension: {c.dimension}, expected at most config.num_features, "
            f"{c.num_features}: fewer features cannot hold it"
        )
    policy_transition = uniform_policy_transition(mdp.transition)
    exact = closed_forms(policy_transition, c.discount, c.dimension, c.num_features, c.seed)

    # ---------------------------------------------------------------- network and tasks
    states = np.eye(mdp.num_states, dtype=np.float32)
    images = functools.cache(lambda: render(mdp.coordinates))
    if c.encoder == "table":
        encoder, observation = table_encoder(c.num_features), states
    else:
        if not c.batch_size:
            raise UserError("config.batch_size: 0, expected 1 or more unless encoder is table")
        encoder = make_encoder(c.encoder, width=c.width, num_features=c.num_features)
        observation = images()
    # The chain of the policy is an MDP of one action: its action values are state values.
    transition = policy_transition[None] if c.predict == "state_values" else mdp.transition
    tasks_of = functools.partial(
        make_tasks,
        states=states,
        images=images,
        proportion=c.proportion,
        tasks_per_network=c.tasks_per_network,
        seed=c.seed,
    )
    tasks = tasks_of(c.indicator, c.num_tasks or mdp.num_states)
    varying = np.ptp(tasks.cumulant, axis=0) > 0
    if not varying.any():
        raise UserError(
            f"config.indicator: all {len(varying)} tasks are the same in every state; expected "
            "another config.proportion, or more states"
        )
    successor = successor_measure(policy_transition, c.discount)
    panels = figure_one(successor, tasks_of, c.tasks_per_network)
    open_run(workdir, "tabular", c.to_dict(), overwrite=overwrite, owns=OWNS).__enter__()

    def train(
        tasks: Tasks, name: str, loss: str = c.loss
    ) -> Iterator[tuple[TrainState, np.ndarray]]:
        """Yields the state and the features [S, F] every `log_every` steps."""
        returns = None
        if loss == "monte_carlo":
            returns = action_values(transition, tasks.cumulant, c.discount).astype(np.float32)
        training = learn(
            Environment(transition, observation, tasks.response, returns),
            encoder,
            tasks.indicator,
            tasks.fitted,
            optimizer=make_optimizer(
                c.optimizer,
                learning_rate=c.learning_rate,
                epsilon=c.adam_epsilon,
                max_gradient_norm=0.0,
            ),
            target_update=average_target(c.target_decay),
            gamma=c.discount,
            num_steps=c.num_steps,
            batch_size=c.batch_size,
            log_every=c.log_every,
            seed=c.seed,
        )
        with console.progress(c.num_steps, "steps", name) as bar:
            for state in training:
                features = features_of(encoder, state, observation)
                bar.update(int(state.step) - bar.n)
                smallest = principal_angle_cosines(features, exact.proto_values)[-1]
                bar.set_postfix_str(f"smallest cosine {smallest:.4f}")
                yield state, features

    # ---------------------------------------------------------------- learning
    metrics = MetricsWriter(workdir, 0)
    began = time.perf_counter()
    steps: list[int] = []
    cosines: dict[str, list[np.ndarray]] = {"proto_values": [], "singular_vectors": []}
    for state, features in train(tasks, c.indicator):
        steps.append(int(state.step))
        for name, found in cosines.items():
            found.append(principal_angle_cosines(features, getattr(exact, name)))
        values = mean_metrics(state) | {f"cosine_{k}": float(v[-1][-1]) for k, v in cosines.items()}
        values["fit_error"] = fit_error(features, exact.values)
        values["numerical_rank"] = basis(features).shape[1]
        values["steps_per_second"] = steps[-1] / (time.perf_counter() - began)
        metrics.write(steps[-1], values)
    metrics.close()

    # ---------------------------------------------------------------- what is left behind
    symmetric = is_symmetric(policy_transition)
    eigenvalues = [[z.real, z.imag] for z in exact.eigenvalues.tolist()]
    summary = {
        "dimension": exact.proto_values.shape[1],
        "numerical_rank": basis(features).shape[1],
        "num_tasks": len(varying),
        "dead_tasks": int(np.sum(~varying)),
        "proto_value_functions": {
            "cosines": cosines["proto_values"][-1].tolist(),
            "eigenvalues": exact.eigenvalues.tolist() if symmetric else eigenvalues,
            "fit_error": fit_error(exact.proto_values, exact.values),
        },
        "successor_measure": {
            "cosines": cosines["singular_vectors"][-1].tolist(),
            "singular_values": exact.singular_values.tolist(),
            "fit_error": fit_error(exact.singular_vectors, exact.values),
        },
        "value_functions": {
            "num_rewards": NUM_REWARDS,
            "fit_error": fit_error(features, exact.values),
            "best_fit_error": best_fit_error(c.num_features, exact.values),
        },
    }
    of_theory = ""
    # Theory knows the value of a state; a head for each action is another problem.
    if c.predict == "state_values" or mdp.num_actions == 1:
        with contextlib.suppress(UserError):  # it is not unique
            tends_to = learned_subspace(c.loss, successor, tasks.cumulant, summary["dimension"])
            reached = principal_angle_cosines(features, tends_to)
            summary["these_tasks"] = {
                "cosines": reached.tolist(),
                "closed_form_to_proto_value_functions": principal_angle_cosines(
                    tends_to, exact.proto_values
                ).tolist(),
            }
            of_theory = f", to what theory says of these tasks {reached[-1]:.4f}"
    files = {
        "mdp.npz": _saved(np.savez, **mdp._asdict(), discount=np.array(c.discount)),
        "features.npy": _saved(np.save, arr=features),
        "indicators.png": pictures.indicators(mdp.coordinates, panels),
        "eigenfunctions.png": pictures.eigenfunctions(
            mdp.coordinates,
            exact.proto_values,
            project(features, exact.proto_values),
            [f"$\\lambda$ = {z:.3f}" for z in exact.eigenvalues]
            if symmetric
            else [f"Schur vector {k + 1}" for k in range(len(eigenvalues))],
        ),
        "convergence.png": pictures.convergence(
            steps,
            {
                "to the proto-value functions": np.array(cosines["proto_values"]),
                "to the singular vectors of the successor measure": np.array(
                    cosines["singular_vectors"]
                ),
            },
        ),
    }
    for file, content in files.items():
        write_whole(workdir / file, content)
    if c.task_counts:
        learned: dict[str, list[float]] = {loss: [] for loss in LOSSES}
        closed: dict[str, list[list[float | None]]] = {loss: [] for loss in LOSSES}
        for count in c.task_counts:
            draws = [tasks_of("random_sets", count, draw=draw) for draw in range(NUM_DRAWS)]
            for loss in LOSSES:
                *_, (_, features) = train(draws[0], f"{count:,} random sets, {loss}", loss)
                cosines_of = principal_angle_cosines(features, exact.proto_values)
                learned[loss].append(float(cosines_of[-1]))
                closed[loss].append(
                    [
                        closed_form_cosine(loss, successor, sets.cumulant, exact.proto_values)
                        for sets in draws
                    ]
                )
        summary["random_sets"] = {
            "counts": list(c.task_counts),
            "learned_cosine": learned,
            # Of the sets learned from, then of others.
            "closed_form_cosines": closed,
        }
        write_whole(workdir / "tasks.png", pictures.task_counts(c.task_counts, learned, closed))
    write_json(workdir / "subspace.json", summary)
    console.say(
        f"{workdir}: smallest cosine to the {summary['dimension']} proto-value functions "
        f"{cosines['proto_values'][-1][-1]:.4f}, to the singular vectors of the successor measure "
        f"{cosines['singular_vectors'][-1][-1]:.4f}{of_theory}; see subspace.json and the pictures"
    )


def _saved(save: Callable[..., None], **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    config = cfg.check_config(_CONFIG.value, FIELDS)
    tabular(config, Path(_WORKDIR.value), _OVERWRITE.value)
    return 0


if __name__ == "__main__":
    console.run(main)
