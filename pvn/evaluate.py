r"""Evaluates features: an agent learns from rewards on top of them, and plays.

    python -m pvn.evaluate --config=configs/evaluate.py --features=runs/pong \
        --workdir=runs/pong/eval

`--features` is a run or features directory, `random` (untrained; `--like=RUN` copies that run's
architecture), or `none` (uniformly random play; needs `--game`). The config says what learns: a
head on frozen features (`config.head`), or the encoder too (`config.dqn.encoder_learning_rate`),
which is fine-tuning, or DQN from pixels with `--features=random`.

The agent learns from its own interaction, or with `--dataset=` from the first
`config.num_labels` rows of stored datasets. `--save_dataset=` keeps what the agent plays while it
learns as a dataset. Every episode is a row of scores.jsonl. What was learned is saved in policy/;
to play with it, give the workdir to `python -m pvn.collect --policy=`, and to use its features,
pass `--features=WORKDIR/policy`. videos/ holds the best and the median episode. A finished
evaluation is not repeated.

The same command resumes an interrupted evaluation from the newest checkpoint that verifies. The
emulators are restored by repeating all actions. On a CPU with the same number of cores the results
have the bytes of an evaluation without interruption. After SIGTERM or Ctrl-C the command saves a
checkpoint first; the exit status is then 143 or 130. A finished evaluation deletes its checkpoints.
"""

import functools
import json
import os
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import flags

from pvn.agent import (
    FIELDS,
    check_encoder,
    check_labels,
    check_memory,
    check_together,
    new_learner,
    settings_of,
)
from pvn.data.joined import open_datasets
from pvn.data.store import Dataset, dataset_exists
from pvn.envs.environment import Environments
from pvn.envs.registry import make_envs
from pvn.errors import UserError
from pvn.evaluation.checkpoint import Checkpoint, restore_checkpoint
from pvn.evaluation.learner import Learner
from pvn.evaluation.recorder import CHECKPOINTS, Recorder
from pvn.evaluation.records import EpisodeRow
from pvn.evaluation.registry import trains_encoder
from pvn.evaluation.stream import EpisodeStore, check_free, stream_attributes
from pvn.evaluation.subject import (
    Subject,
    check_features_fit,
    features_identity,
    resolve_subject,
)
from pvn.phases import Evaluation, OpenStore, Outcome, by_interaction, by_labels
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.runs.metrics import MetricsWriter
from pvn.runs.run_directory import Run, open_run
from pvn.storage.files import read_text, write_json

_CONFIG = cfg.define_config("configs/evaluate.py")
_FEATURES = cfg.define_path(
    "features",
    None,
    "Run or features directory, `random` or `none`.",
    required=True,
    words=("random", "none"),
    local=False,
)
_LIKE = cfg.define_path(
    "like",
    None,
    "With --features=random: the run whose architecture to take. Default: nature (nature_xavier if "
    "it is trained), or minatar.",
    local=False,
)
_GAME = flags.DEFINE_string("game", None, "Default: the game the features were learned on.")
_AGENT = flags.DEFINE_string(
    "agent", None, "Name in tables. Default: from the features and what is learned."
)
_DATASET = cfg.define_paths(
    "dataset", "Learn from the rewards of this dataset, or several (a,b), instead of interaction."
)
_SAVE_DATASET = cfg.define_path(
    "save_dataset", None, "Dataset to write: what the agent plays while it learns.", local=False
)
_WORKDIR = cfg.define_path("workdir", None, "Directory of the scores.", required=True, local=False)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the evaluation in --workdir.")

OWNS = (
    *("scores.jsonl", "scores.jsonl.partial", "summary.json", "metrics.jsonl", "tensorboard"),
    *("policy", "videos", CHECKPOINTS),
)
MAY_CHANGE = ("features", "like", "dataset", "save_dataset", "checkpoint_every")
# On gs://, what makes the evaluation complete is written last.
RESULTS = ("metrics.jsonl", "tensorboard", "policy", "videos", "scores.jsonl", "summary.json")


def read_mean(summary: Path) -> float:
    """The mean episode return in the summary of a complete evaluation.

    Raises:
      UserError: the file is damaged.
    """
    try:
        return float(json.loads(read_text(summary))["episode_return"])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{summary}: is damaged, expected an episode_return; delete the file, and evaluate "
            "again"
        ) from None


def recorder(
    c: ml_collections.FrozenConfigDict, run: Run, row: EpisodeRow, saved: Checkpoint | None
) -> Recorder:
    """The recorder of a run, which may be on `gs://`. saved: where it resumes."""

    def publish() -> None:
        # The manifests of checkpoints are last: what they name is there.
        run.push("metrics.jsonl", "tensorboard", f"{CHECKPOINTS}/*.npz", f"{CHECKPOINTS}/*.json")
        run.prune(CHECKPOINTS)

    return Recorder(
        run.workdir, run.identity, run.check_held, publish, row, c.checkpoint_every, saved
    )


def check_kept() -> None:
    """Raises `UserError` if --save_dataset comes after the agent has learned without it."""
    if (path := _SAVE_DATASET.value) and not dataset_exists(path):
        raise UserError(
            f"--save_dataset={path}: the agent has learned already, and what it played was not "
            "kept; name another --workdir, or pass --overwrite"
        )


def evaluate(
    c: ml_collections.FrozenConfigDict,
    subject: Subject,
    envs: Environments,
    run: Run,
    learner: Learner | None,
    *,
    dataset: Dataset | None = None,
    open_store: OpenStore | None = None,
) -> int:
    """Runs or resumes the evaluation with config `c` in a run directory. Returns the exit status.

    Args:
      c: the config.
      subject: the features and the game.
      envs: the environments.
      run: the open run directory.
      learner: for interaction; None: uniformly random play.
      dataset: the labels to learn from; None: the agent interacts.
      open_store: opens the dataset that the interaction is written to; None: it is not kept.

    Raises:
      UserError: a feature or a weight of the head is not finite, every fit diverged, a checkpoint
        belongs to another run or another emulator, or it is too late for --save_dataset.
    """
    workdir = run.workdir
    summary, checkpoints = workdir / "summary.json", workdir / CHECKPOINTS
    if summary.is_file():
        check_kept()
        run.delete(CHECKPOINTS)  # the command may have been killed here
        mean = read_mean(summary)
        console.say(f"{run.name}: complete, mean episode return {mean:.2f}")
        return 0

    saved = restore_checkpoint(checkpoints, run.identity, console.say)
    start = -1
    if saved:
        if saved.phase == "eval":
            check_kept()
        console.say(f"{run.name}: resumes at agent step {saved.agent_step:,}")
        run.warn_of_changes()
        # A checkpoint while it learns precedes the updates of its step: the row is written again.
        start = saved.agent_step - 1 if saved.phase == "train" else saved.learned_at
    head_name = c.head if subject.features is not None else "none"
    row = EpisodeRow(subject.game, subject.agent, head_name, c.seed, "", 0, 0.0, 0)
    with (
        console.orderly_stop() as stop,
        recorder(c, run, row, saved) as record,
        MetricsWriter(workdir, start) as metrics,
    ):
        e = Evaluation(c, subject, envs, record, metrics, stop)
        if dataset:
            outcome = by_labels(e, saved, dataset)
        else:
            outcome = by_interaction(e, learner, saved, open_store)
    if outcome is None:
        run.push("metrics.jsonl", "tensorboard")  # the last events
        at = f"{record.saved_at:,}"
        console.say(f"{run.name}: stopped, saved at agent step {at}; the same command resumes")
        return stop.status
    finish(run, subject, record.file, outcome)
    return 0


def finish(run: Run, subject: Subject, scores: Path, outcome: Outcome) -> None:
    """Writes scores.jsonl and summary.json, and deletes the checkpoints.

    scores: the rows of all episodes. The file has another name until it is complete: the first
    episodes that end are short, so an incomplete file would be biased.
    """
    run.check_held()
    os.replace(scores, run.workdir / "scores.jsonl")
    (returns, diverged), mean = outcome, float(np.mean(outcome.returns))
    write_json(
        run.workdir / "summary.json",
        {"episode_return": mean, "episodes": len(returns), "diverged_fits": diverged},
    )
    run.push(*RESULTS)
    run.delete(CHECKPOINTS)
    console.say(
        f"{run.name}: {subject.agent} on {subject.game}, mean episode return {mean:.2f} over "
        f"{len(returns)} episodes"
        + (f"; {diverged} fits diverged and were not used" if diverged else "")
    )


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    c = cfg.check_config(_CONFIG.value, FIELDS)
    check_encoder(c)
    name, like = _FEATURES.value, _LIKE.value
    subject = resolve_subject(
        name,
        like=like,
        game=_GAME.value,
        agent=_AGENT.value,
        seed=c.seed,
        trained=trains_encoder(c.head, c.to_dict()),
    )
    envs = make_envs(subject.game, c.num_envs)
    dataset = open_datasets(_DATASET.value) if _DATASET.value else None
    if dataset:
        check_labels(c, dataset, subject, envs.num_actions)
    elif subject.features is not None:
        check_together(c)
    if _SAVE_DATASET.value and (dataset or subject.features is None):
        other = "--dataset" if dataset else "--features=none"
        raise UserError(f"--save_dataset: goes with learning from interaction, not with {other}")
    learner = None
    if subject.features is not None:
        check_features_fit(subject.features, name, subject.game, envs.num_actions)
        # Made before anything is written, because it refuses what does not fit it.
        learner = new_learner(c, subject, envs.num_actions, c.num_envs)
        check_memory(c, learner, labels=dataset is not None)
    config = {
        **settings_of(c),
        "game": subject.game,
        "agent": subject.agent,
        **features_identity(subject.features),
        "features": name,  # for information only: the path of the features
        "like": like or "",  # likewise
        "dataset": ",".join(_DATASET.value or ()),  # likewise
        "dataset_fingerprint": dataset.compute_fingerprint() if dataset else "",
        "save_dataset": _SAVE_DATASET.value or "",
    }
    open_store = None
    if path := _SAVE_DATASET.value:
        identity = {key: value for key, value in config.items() if key not in MAY_CHANGE}
        attributes = stream_attributes(identity, envs.num_actions)
        check_free(path, attributes)
        open_store = functools.partial(EpisodeStore, path, attributes, c.num_envs)
    with open_run(
        _WORKDIR.value,
        "evaluate",
        config,
        overwrite=_OVERWRITE.value,
        owns=OWNS,
        pull=("summary.json", "metrics.jsonl", CHECKPOINTS),
        may_change=MAY_CHANGE,
    ) as run:
        return evaluate(c, subject, envs, run, learner, dataset=dataset, open_store=open_store)


if __name__ == "__main__":
    console.run(main, memory="config.replay_capacity")
