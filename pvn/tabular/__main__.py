"""Learns features of a small exact MDP and compares them with subspaces in closed form.

    python -m pvn.tabular --config=configs/four_rooms.py --workdir=runs/four_rooms

The run directory holds mdp.npz, features.npy, subspace.json, metrics.jsonl and pictures. A run does
not resume: the same command computes everything again. docs/tabular.md explains the pictures.
"""

import functools
import io
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import flags

from pvn.errors import UserError
from pvn.fields import SEED, choice, real, text, whole, wholes
from pvn.indicators.registry import INDICATORS
from pvn.indicators.tasks import Tasks, check_varies
from pvn.learning.loop import Logged
from pvn.learning.optimizers import OPTIMIZERS
from pvn.networks.encoders import make_encoder
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.runs.metrics import MetricsWriter
from pvn.runs.run_directory import open_run
from pvn.storage.files import write_json, write_whole
from pvn.tabular import pictures
from pvn.tabular.exact import closed_forms, is_symmetric, uniform_policy_transition
from pvn.tabular.mdp import make_mdp
from pvn.tabular.rendering import render
from pvn.tabular.study import LOSSES, LearningSettings, Study, sets_curve, summary_of
from pvn.tabular.subspace import principal_angle_cosines, project
from pvn.tabular.table import table_encoder
from pvn.tabular.tasks import STATE_FAMILIES, TaskMaker, cumulants_of

_CONFIG = cfg.define_config("configs/four_rooms.py")
_WORKDIR = cfg.define_path("workdir", None, "Directory of the run.", required=True, local=False)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run that is in --workdir.")

FAMILIES: dict[str, Any] = STATE_FAMILIES | INDICATORS
FIELDS = FAMILIES | {
    "mdp": text(),
    "size": whole(2),
    "num_actions": whole(1),
    "branching": whole(1),
    "mdp_seed": SEED,
    "discount": real(0, 1, closed="[)"),
    "encoder": text(),
    "width": whole(1),
    "num_features": whole(1),
    "predict": choice("state_values", "action_values"),
    "indicator": choice(*FAMILIES),
    "num_tasks": whole(0),
    "loss": choice(*LOSSES),
    "target_decay": real(0, 1, closed="[)"),
    "num_steps": whole(1),
    "batch_size": whole(0),
    "optimizer": choice(*OPTIMIZERS),
    "learning_rate": real(0, float("inf"), closed="()"),
    "adam_epsilon": real(0, float("inf"), closed="()"),
    "seed": SEED,
    "log_every": whole(1),
    "dimension": whole(0),
    "task_counts": wholes(1),
}
OWNS = (
    *("mdp.npz", "features.npy", "subspace.json", "metrics.jsonl", "tensorboard"),
    *("indicators.png", "eigenfunctions.png", "convergence.png", "tasks.png"),
)


def make_study(c: ml_collections.FrozenConfigDict) -> Study:
    """The MDP of a config, its closed forms, and the encoder and tasks to learn with.

    Raises:
      UserError: the MDP or encoder cannot be made, or fields contradict each other.
    """
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
    states = np.eye(mdp.num_states, dtype=np.float32)
    images = functools.cache(lambda: render(mdp.coordinates))
    if c.encoder == "table":
        encoder, observation = table_encoder(c.num_features), states
    else:
        if not c.batch_size:
            raise UserError("config.batch_size: 0, expected 1 or more unless encoder is table")
        encoder = make_encoder(c.encoder, width=c.width, num_features=c.num_features)
        observation = images()
    families = {name: family(**c[name]) for name, family in FAMILIES.items()}
    return Study(
        mdp=mdp,
        discount=c.discount,
        exact=exact,
        # P is an MDP with one action, whose action values are the state values.
        transition=policy_transition[None] if c.predict == "state_values" else mdp.transition,
        encoder=encoder,
        num_features=c.num_features,
        observation=observation,
        tasks_of=TaskMaker(states, images, families, c.seed),
    )


def make_tasks(c: ml_collections.FrozenConfigDict, study: Study) -> Tasks:
    """The tasks of a config.

    Raises:
      UserError: the family refuses, or every task has the same cumulant in all states.
    """
    tasks = study.tasks_of(c.indicator, c.num_tasks or study.mdp.num_states)
    check_varies(tasks)
    return tasks


def indicator_panels(
    study: Study, tasks_per_network: int
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, indicator [S], its value function [S]) of a state-equality and a random-network task.

    The second is left out if the states cannot be drawn as images, or if every random-network task
    is the same in all states.
    """
    panels = []
    counts = {"state_equality": study.mdp.num_states, "random_network": tasks_per_network}
    for name, count in counts.items():
        try:
            cumulant = cumulants_of(study.tasks_of(name, count))
        except UserError as error:
            console.say(f"indicators.png: without a random network's set ({error})")
            continue
        varying = cumulant[:, np.ptp(cumulant, axis=0) > 0]
        if varying.size:
            shown = varying[:, varying.shape[1] // 4]
            panels.append((name.replace("_", " "), shown, study.exact.successor @ shown))
    return panels


def tabular(c: ml_collections.FrozenConfigDict, place: str, overwrite: bool) -> None:
    """Runs the experiment `c` in `place`, a local directory or `gs://bucket/path`.

    Raises:
      UserError: a field, or `place`, cannot be used; or the loss is not finite.
    """
    study = make_study(c)
    tasks = make_tasks(c, study)
    panels = indicator_panels(study, c.random_network.tasks_per_network)
    learning = LearningSettings(**{name: c[name] for name in LearningSettings._fields})

    def training(tasks: Tasks, name: str, loss: str) -> Iterator[tuple[Logged, np.ndarray]]:
        """`Study.train` with a progress bar."""
        with console.progress(c.num_steps, "steps", name) as bar:
            for logged, features in study.train(tasks, loss, learning):
                bar.update(logged.step - bar.n)
                smallest = principal_angle_cosines(features, study.exact.proto_values)[-1]
                bar.set_postfix_str(f"smallest cosine {smallest:.4f}")
                yield logged, features

    def last_features(tasks: Tasks, name: str, loss: str) -> np.ndarray:
        *_, (_, features) = training(tasks, name, loss)
        return features

    with open_run(place, "tabular", c.to_dict(), overwrite=overwrite, owns=OWNS) as run:
        workdir = run.workdir
        steps, cosines = [], []
        features = np.empty(0)
        with MetricsWriter(workdir, 0) as metrics:
            for logged, features in training(tasks, c.indicator, c.loss):
                steps.append(logged.step)
                cosines.append(study.cosines(features))
                values = {k: v for k, v in logged.values.items() if k != "data_wait_share"}
                run.check_held()
                metrics.write(logged.step, values | study.metrics(features))
        summary = summary_of(study, tasks, features, c.loss)
        files = {
            "mdp.npz": _saved(np.savez, **study.mdp._asdict(), discount=np.array(c.discount)),
            "features.npy": _saved(np.save, arr=features),
            "indicators.png": pictures.indicators(study.mdp.coordinates, panels),
            "eigenfunctions.png": _eigenfunctions(study, features),
            "convergence.png": pictures.convergence(
                steps,
                {
                    "to the proto-value functions": np.array([x["proto_values"] for x in cosines]),
                    "to the singular vectors of the successor measure": np.array(
                        [x["singular_vectors"] for x in cosines]
                    ),
                },
            ),
        }
        if c.task_counts:
            curve = summary["random_sets"] = sets_curve(study, c.task_counts, last_features)
            files["tasks.png"] = pictures.task_counts(
                c.task_counts, curve["learned_cosine"], curve["closed_form_cosines"]
            )
        run.check_held()
        for file, content in files.items():
            write_whole(workdir / file, content)
        write_json(workdir / "subspace.json", summary)
        run.push(*OWNS)
    theory = ""
    if found := summary.get("these_tasks"):
        theory = f", to the closed form for these tasks {found['cosines'][-1]:.4f}"
    console.say(
        f"{place}: smallest cosine to the {summary['dimension']} proto-value functions "
        f"{cosines[-1]['proto_values'][-1]:.4f}, to the singular vectors of the successor measure "
        f"{cosines[-1]['singular_vectors'][-1]:.4f}{theory}; see subspace.json and the pictures"
    )


def _eigenfunctions(study: Study, features: np.ndarray) -> bytes:
    exact = study.exact
    names = [f"$\\lambda$ = {z:.3f}" for z in exact.eigenvalues]
    if not is_symmetric(exact.policy_transition):
        names = [f"Schur vector {k + 1}" for k in range(len(names))]
    projected = project(features, exact.proto_values)
    return pictures.eigenfunctions(study.mdp.coordinates, exact.proto_values, projected, names)


def _saved(save: Callable[..., None], **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    config = cfg.check_config(_CONFIG.value, FIELDS)
    tabular(config, _WORKDIR.value, _OVERWRITE.value)
    return 0


if __name__ == "__main__":
    console.run(main)
