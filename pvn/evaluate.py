r"""Evaluates features: an agent learns from rewards on top of them, and plays.

    python -m pvn.evaluate --config=configs/evaluate.py --features=runs/pong \
        --workdir=runs/pong/eval

`--features` is a run or features directory, `random` (untrained; `--like=RUN` copies that run's
architecture), or `none` (uniformly random play; needs `--game`). The config says what learns: a
head on frozen features (`config.head`), or the encoder too (`config.dqn.encoder_learning_rate`),
which is fine-tuning, or DQN from pixels with `--features=random`.

The agent learns from its own interaction, or with `--dataset=` from the first
`config.num_labels` rows of a stored dataset. `--save_dataset=` keeps what the agent plays while it
learns as a dataset. Every episode is a row of scores.jsonl. What was learned is saved in policy/;
to play with it, give the workdir to `python -m pvn.collect --policy=`, and to use its features,
pass `--features=WORKDIR/policy`. videos/ holds the best and the median episode. A finished
evaluation is not repeated.

The same command resumes an interrupted evaluation from the newest checkpoint that verifies. The
emulators are restored by repeating all actions. On a CPU the results have the same bytes as those
of an evaluation without interruption. After SIGTERM or Ctrl-C the command saves a checkpoint first;
the exit status is then 143 or 130. A finished evaluation deletes its checkpoints.
"""

import hashlib
import json
import os
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.agent import FIELDS, check_labels, check_together, last_step, new_learner
from pvn.data.store import Dataset, open_dataset
from pvn.envs.atari import AtariEnvs
from pvn.envs.protocol import PROTOCOL
from pvn.errors import UserError
from pvn.evaluation.checkpoint import Checkpoint, restore_checkpoint
from pvn.evaluation.learner import Learner
from pvn.evaluation.recorder import CHECKPOINTS, Recorder
from pvn.evaluation.records import EpisodeRow
from pvn.evaluation.registry import trains_encoder
from pvn.evaluation.stream import EpisodeStore, Position
from pvn.evaluation.subject import (
    Subject,
    check_features_fit,
    features_identity,
    resolve_subject,
)
from pvn.files import read_text, write_json
from pvn.metrics import MetricsWriter
from pvn.phases import (
    Evaluation,
    learn_by_interaction,
    learn_from_labels,
    play_episodes,
    save_head,
)
from pvn.run_directory import Run, open_run

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
    "With --features=random: the run whose architecture to take. Default: nature.",
    local=False,
)
_GAME = flags.DEFINE_string("game", None, "Default: the game the features were learned on.")
_AGENT = flags.DEFINE_string(
    "agent", None, "Name in tables. Default: from the features and what is learned."
)
_DATASET = cfg.define_path(
    "dataset", None, "Learn from the rewards of this dataset instead of interaction.", local=False
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
MAY_CHANGE = ("features", "dataset", "save_dataset", "checkpoint_every")
# On gs://, what makes the evaluation complete is written last.
RESULTS = ("metrics.jsonl", "tensorboard", "policy", "videos", "scores.jsonl", "summary.json")


class Outcome(NamedTuple):
    """The result of an evaluation."""

    returns: list[float]  # of the evaluation episodes
    diverged_fits: int  # fits that diverged and were not used


def by_interaction(
    e: Evaluation, learner: Learner | None, saved: Checkpoint | None, store: EpisodeStore | None
) -> Outcome | None:
    """Learns from interaction, and plays. Returns None after a stop.

    store: keeps what is played while it learns; None: it is not kept.
    """
    c = e.config
    if learner and saved:
        learner.restore(saved.learner)
    in_eval = saved if saved and saved.phase == "eval" else None
    if learner and not in_eval:
        if not learn_by_interaction(e, learner, saved, store):
            return None
        if store:
            store.close()
    if learner:
        e.record.check_held()
        save_head(e, learner)
    returns = play_episodes(e, learner, last_step(c) if learner else 0, in_eval)
    return None if returns is None else Outcome(returns, learner.diverged_fits if learner else 0)


def open_store(e: Evaluation, run: Run, path: str, saved: Checkpoint | None) -> EpisodeStore | None:
    """Opens the dataset at `path` for what the agent plays; None if it has learned already.

    Raises:
      UserError: the dataset is of another run, or cannot be written.
    """
    if saved and saved.phase == "eval":
        return None
    identity = json.dumps(run.identity, sort_keys=True).encode()
    source = {"kind": "pvn.evaluate", "agent": e.subject.agent, "seed": e.config.seed}
    attributes = {
        "game": e.subject.game,
        "num_actions": e.envs.num_actions,
        "protocol": PROTOCOL,
        "source": source | {"run_sha256": hashlib.sha256(identity).hexdigest()},
    }
    stored = saved.stored if saved else Position()
    return EpisodeStore(path, attributes, e.config.num_envs, stored)


def by_labels(e: Evaluation, saved: Checkpoint | None, dataset: Dataset) -> Outcome | None:
    """Learns from each number of labels, and plays. Returns the outcome with the most labels.

    Returns None after a stop.
    """
    c, replay, outcome = e.config, None, None
    for num_labels in c.num_labels:
        if saved and num_labels < saved.learned_at:
            continue
        if saved and num_labels == saved.learned_at:
            learner = new_learner(c, e.subject, e.envs.num_actions, num_envs=1)
            learner.restore(saved.learner)
        else:
            learned = learn_from_labels(e, dataset, replay, num_labels)
            if learned is None:
                return None
            learner, replay = learned
            saved = None
        e.record.check_held()
        save_head(e, learner)
        returns = play_episodes(e, learner, num_labels, saved)
        if returns is None:
            return None
        console.say(f"{num_labels:,} labels: mean episode return {np.mean(returns):.2f}")
        outcome = Outcome(returns, learner.diverged_fits)
    return outcome


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


def evaluate(
    c: ml_collections.FrozenConfigDict,
    subject: Subject,
    envs: AtariEnvs,
    run: Run,
    learner: Learner | None,
    *,
    dataset: Dataset | None = None,
    save_dataset: str | None = None,
) -> int:
    """Runs or resumes the evaluation with config `c` in a run directory. Returns the exit status.

    Args:
      c: the config.
      subject: the features and the game.
      envs: the environments.
      run: the open run directory.
      learner: for interaction; None: uniformly random play.
      dataset: the labels to learn from; None: the agent interacts.
      save_dataset: the dataset that the interaction is written to; None: it is not kept.

    Raises:
      UserError: a feature or a weight of the head is not finite, every fit diverged, or a
        checkpoint belongs to another run or another emulator.
    """
    workdir = run.workdir
    summary, checkpoints = workdir / "summary.json", workdir / CHECKPOINTS
    if summary.is_file():
        run.delete(CHECKPOINTS)  # the command may have been killed here
        mean = json.loads(read_text(summary))["episode_return"]
        console.say(f"{run.name}: complete, mean episode return {mean:.2f}")
        return 0

    saved = restore_checkpoint(checkpoints, run.identity, console.say)
    if saved:
        console.say(f"{run.name}: resumes at agent step {saved.agent_step:,}")
    start = -1 if saved is None else saved.learned_at if dataset else saved.agent_step
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
            store = open_store(e, run, save_dataset, saved) if save_dataset else None
            outcome = by_interaction(e, learner, saved, store)
    if outcome is None:
        run.push("metrics.jsonl", "tensorboard")  # the last events
        at = f"{record.saved_at:,}"
        console.say(f"{run.name}: stopped, saved at agent step {at}; the same command resumes")
        return stop.status
    # The file has another name until it is complete: the first episodes that end are short, so an
    # incomplete file would be biased.
    run.check_held()
    os.replace(record.file, workdir / "scores.jsonl")
    (returns, diverged), mean = outcome, float(np.mean(outcome.returns))
    write_json(
        summary, {"episode_return": mean, "episodes": len(returns), "diverged_fits": diverged}
    )
    run.push(*RESULTS)
    run.delete(CHECKPOINTS)
    console.say(
        f"{run.name}: {subject.agent} on {subject.game}, mean episode return {mean:.2f} over "
        f"{len(returns)} episodes"
        + (f"; {diverged} fits diverged and were not used" if diverged else "")
    )
    return 0


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    c = cfg.check_config(_CONFIG.value, FIELDS)
    name, like = _FEATURES.value, _LIKE.value
    subject = resolve_subject(
        name,
        like=like,
        game=_GAME.value,
        agent=_AGENT.value,
        seed=c.seed,
        trained=trains_encoder(c.head, c.to_dict()),
    )
    dataset = open_dataset(_DATASET.value) if _DATASET.value else None
    if dataset:
        check_labels(c, dataset, subject)
        if _SAVE_DATASET.value:
            raise UserError("--save_dataset: goes with interaction, not with --dataset")
    else:
        check_together(c)
    envs = AtariEnvs(subject.game, c.num_envs)
    learner = None
    if subject.features is not None:
        check_features_fit(subject.features, name, subject.game, envs.num_actions)
        # Made before anything is written, because it refuses what does not fit it.
        learner = new_learner(c, subject, envs.num_actions, c.num_envs)
    config = {
        **c.to_dict(),
        "game": subject.game,
        "agent": subject.agent,
        "like": like or "",
        **features_identity(subject.features),
        "features": name,  # for information only: the path of the features
        "dataset": _DATASET.value or "",  # likewise
        "dataset_fingerprint": dataset.compute_fingerprint() if dataset else "",
        "save_dataset": _SAVE_DATASET.value or "",
    }
    with open_run(
        _WORKDIR.value,
        "evaluate",
        config,
        overwrite=_OVERWRITE.value,
        owns=OWNS,
        pull=("summary.json", "metrics.jsonl", CHECKPOINTS),
        may_change=MAY_CHANGE,
    ) as run:
        return evaluate(
            c, subject, envs, run, learner, dataset=dataset, save_dataset=_SAVE_DATASET.value
        )


if __name__ == "__main__":
    console.run(main, memory="config.replay_capacity")
