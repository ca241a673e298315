r"""Evaluates frozen features: fits a linear head to rewards, and plays with it.

    python -m pvn.evaluate --config=configs/evaluate.py --features=runs/pong \
        --workdir=runs/pong/eval

`--features` is a run or features directory, `random` (untrained; `--like=RUN` copies that run's
architecture), or `none` (uniformly random play; needs `--game`). Every episode is a row of
scores.jsonl. The head and its features are saved in policy/; to play with them, give the workdir to
`python -m pvn.collect --policy=`. A finished evaluation is not repeated.

The same command resumes an interrupted evaluation from the newest checkpoint that verifies. The
emulators are restored by repeating all actions. On a CPU the results have the same bytes as those
of an evaluation without interruption. After SIGTERM or Ctrl-C the command saves a checkpoint first;
the exit status is then 143 or 130. A finished evaluation deletes its checkpoints.
"""

import json
import os
from collections import deque
from pathlib import Path

import jax
import ml_collections
import numpy as np
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.envs.atari import AtariEnvs
from pvn.errors import UserError
from pvn.evaluation.checkpoint import Checkpoint, restore_checkpoint, restore_replay
from pvn.evaluation.head import Act, is_finite, make_act
from pvn.evaluation.learner import Learner, LearnerContext
from pvn.evaluation.policy import save_policy
from pvn.evaluation.recorder import CHECKPOINTS, Recorder
from pvn.evaluation.records import EpisodeRow
from pvn.evaluation.registry import LEARNERS, make_learner
from pvn.evaluation.replay import FeatureReplay
from pvn.evaluation.rollout import Rollout, interact, play
from pvn.evaluation.subject import (
    Subject,
    check_features_fit,
    features_identity,
    resolve_subject,
    upgrade_config,
)
from pvn.fields import SEED, Fields, choice, flag, real, whole
from pvn.files import read_text, write_json
from pvn.metrics import MetricsWriter
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
    "agent", None, "Name in tables. Default: pvn, random_features or random_policy."
)
_WORKDIR = cfg.define_path("workdir", None, "Directory of the scores.", required=True, local=False)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the evaluation in --workdir.")

FIELDS: Fields = {
    "seed": SEED,
    "num_envs": whole(1, 10_000),
    "head": choice(*LEARNERS),
    "num_steps": whole(1),
    "discount": real(0, 1, closed="[)"),
    "n_step": whole(1),
    "clip_rewards": flag(),
    "epsilon_start": real(0, 1, closed="[]"),
    "epsilon_end": real(0, 1, closed="[]"),
    "epsilon_decay_steps": whole(1),
    "replay_capacity": whole(1),
    "learn_after": whole(1),
    "eval_episodes": whole(1),
    "eval_epsilon": real(0, 1, closed="[]"),
    "checkpoint_every": whole(1),
    **{name: settings for name, (settings, _) in LEARNERS.items()},
}
OWNS = (
    *("scores.jsonl", "scores.jsonl.partial", "summary.json", "metrics.jsonl", "tensorboard"),
    *("policy", CHECKPOINTS),
)
MAY_CHANGE = ("features", "checkpoint_every")
# On gs://, what makes the evaluation complete is written last.
RESULTS = ("metrics.jsonl", "tensorboard", "policy", "scores.jsonl", "summary.json")


def linear_epsilon(step: int, start: float, end: float, decay_steps: int) -> float:
    """Epsilon at an agent step: linear from `start` to `end` over `decay_steps`, then `end`."""
    return start + min(step / decay_steps, 1.0) * (end - start)


def last_step(c: ml_collections.FrozenConfigDict) -> int:
    """The agent step at which learning ends: `num_steps`, in whole timesteps."""
    return int(c.num_steps // c.num_envs * c.num_envs)


def check_together(c: ml_collections.FrozenConfigDict) -> None:
    """Checks the config's fields against each other.

    Raises:
      UserError: nothing would be learned within `num_steps`.
    """
    if c.num_steps < max(c.learn_after, c.num_envs * (c.n_step + 1)):
        raise UserError(
            f"config.num_steps: {c.num_steps} ends before anything is learned, expected at least "
            f"config.learn_after ({c.learn_after}) and config.num_envs * (config.n_step + 1) "
            f"({c.num_envs * (c.n_step + 1)})"
        )


def start_rollout(
    envs: AtariEnvs, act: Act | None, seed: int, saved: Checkpoint | None, stop: console.Stop
) -> Rollout:
    """A new rollout, or that of a checkpoint. It cannot be used if `stop` is set.

    Raises:
      UserError: the emulators do not show what they showed before the checkpoint.
    """
    rollout = Rollout(envs, act, seed)
    if saved:
        total = saved.rollout["actions"].size
        with console.progress(total, "steps", "emulators") as bar:
            for _ in rollout.restore(saved.rollout):
                bar.update(envs.num_envs)
                if stop:
                    break
    return rollout


def learn_head(
    c: ml_collections.FrozenConfigDict,
    rollout: Rollout,
    learner: Learner,
    replay: FeatureReplay,
    record: Recorder,
    metrics: MetricsWriter,
    stop: console.Stop,
) -> bool:
    """Plays and learns until `num_steps` agent steps are played. Returns False after a stop.

    Raises:
      UserError: a feature is not finite, or the learner cannot continue.
    """
    steps = interact(
        rollout,
        learner,
        replay,
        num_steps=c.num_steps,
        epsilon=lambda step: linear_epsilon(
            step, c.epsilon_start, c.epsilon_end, c.epsilon_decay_steps
        ),
        clip_rewards=c.clip_rewards,
    )
    recent: deque[float] = deque(maxlen=50)
    diverged_fits = learner.diverged_fits
    with console.progress(c.num_steps, "steps", f"learn {c.head}", rollout.agent_step) as bar:
        for agent_step, episodes, numbers in steps:
            record.write("train", agent_step, episodes)
            if numbers:
                metrics.write(agent_step, numbers)
            if learner.diverged_fits > diverged_fits:
                diverged_fits = learner.diverged_fits
                console.say(f"a fit diverged at {agent_step:,} agent steps and is not used")
            bar.update(agent_step - bar.n)
            recent.extend(episode.episode_return for episode in episodes)
            if recent:
                bar.set_postfix_str(f"recent returns {np.mean(recent):.2f}", refresh=False)
            # No checkpoint is between the last timestep and the last fit, which logs metrics too.
            if agent_step < last_step(c) and (stop or record.is_due(agent_step)):
                record.save("train", agent_step, rollout, learner, replay)
                if stop:
                    return False
    return True


def save_head(
    workdir: Path, subject: Subject, learner: Learner, head_name: str, num_actions: int
) -> None:
    """Writes policy/: the learned head and its features.

    Raises:
      UserError: every fit diverged, or the head is not finite.
    """
    if not learner.num_fits:
        raise UserError(
            f"{workdir}: every fit diverged, there is no head to play with; lower "
            "config.discount or config.n_step, or use config.head=dqn"
        )
    if not is_finite(learner.head):
        raise UserError(f"{workdir}: the head of {head_name} diverged, its weights are not finite")
    assert subject.features is not None
    metadata = {"game": subject.game, "num_actions": num_actions, "head": head_name}
    save_policy(workdir / "policy", subject.features, learner.head, metadata)


def play_episodes(
    c: ml_collections.FrozenConfigDict,
    rollout: Rollout,
    learner: Learner | None,
    record: Recorder,
    stop: console.Stop,
) -> list[float]:
    """Plays `eval_episodes` episodes, or fewer if `stop` is set. Returns the episode returns.

    learner: holds the head; None for uniformly random play.
    """
    head = learner.head if learner else None
    learned_at = last_step(c) if learner else 0
    returns = record.eval_returns()
    with console.progress(c.eval_episodes, "episodes", "evaluate", len(returns)) as bar:
        for episodes in play(rollout, head, num_episodes=c.eval_episodes, epsilon=c.eval_epsilon):
            record.write("eval", learned_at, episodes)
            returns.extend(episode.episode_return for episode in episodes)
            if episodes:
                bar.update(len(episodes))
                bar.set_postfix_str(f"return {np.mean(returns):.2f}", refresh=False)
            agent_step = learned_at + rollout.agent_step
            if stop or record.is_due(agent_step):
                record.save("eval", agent_step, rollout, learner)
            if stop:
                break
    return returns


def configured_learner(
    c: ml_collections.FrozenConfigDict, num_features: int, num_actions: int
) -> Learner:
    """Returns the learner of config `c`, for features [N, num_features]."""
    shared = {name: c[name] for name in LearnerContext._fields if name in c}
    context = LearnerContext(num_features=num_features, num_actions=num_actions, **shared)
    return make_learner(c.head, context, c[c.head])


def empty_replay(c: ml_collections.FrozenConfigDict, num_features: int) -> FeatureReplay:
    """The replay of config `c`, for features [N, num_features]."""
    size = min(c.replay_capacity, c.num_steps)
    return FeatureReplay(
        max(size // c.num_envs, c.n_step + 2),
        c.num_envs,
        num_features,
        n_step=c.n_step,
        discount=c.discount,
    )


def learn_and_play(
    c: ml_collections.FrozenConfigDict,
    subject: Subject,
    envs: AtariEnvs,
    learner: Learner | None,
    saved: Checkpoint | None,
    record: Recorder,
    metrics: MetricsWriter,
    stop: console.Stop,
) -> list[float]:
    """Runs both phases, from a checkpoint if there is one. Returns the evaluation's returns.

    learner: restored; None for uniformly random play.
    """
    features = subject.features
    act = make_act(features) if features is not None else None
    in_eval = saved if saved and saved.phase == "eval" else None
    if learner and not in_eval:
        rollout = start_rollout(envs, act, 2 * c.seed, saved, stop)
        replay = empty_replay(c, learner.head.kernel.shape[0])
        restore_replay(replay, saved.replay if saved else ())
        if stop or not learn_head(c, rollout, learner, replay, record, metrics, stop):
            return []
    if learner:
        record.check_held()
        save_head(record.workdir, subject, learner, c.head, envs.num_actions)
    rollout = start_rollout(envs, act, 2 * c.seed + 1, in_eval, stop)
    if not in_eval:
        record.save("eval", last_step(c) if learner else 0, rollout, learner)
    return [] if stop else play_episodes(c, rollout, learner, record, stop)


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
    c: ml_collections.FrozenConfigDict, subject: Subject, envs: AtariEnvs, run: Run
) -> int:
    """Runs or resumes the evaluation with config `c` in a run directory. Returns the exit status.

    Raises:
      UserError: a feature or a weight of the head is not finite, every fit diverged, or a
        checkpoint belongs to another run or another emulator.
    """
    workdir = run.workdir
    summary, checkpoints = workdir / "summary.json", workdir / CHECKPOINTS
    if summary.is_file():
        run.delete(CHECKPOINTS)  # the command may have been killed here
        done = json.loads(read_text(summary))
        mean = done.get("episode_return", done.get("return"))  # older versions: `return`
        console.say(f"{run.name}: complete, mean episode return {mean:.2f}")
        return 0

    saved = restore_checkpoint(checkpoints, run.identity, console.say)
    if saved:
        console.say(f"{run.name}: resumes at agent step {saved.agent_step:,}")
    learner: Learner | None = None
    if subject.features is not None:
        learner = configured_learner(c, subject.features.num_features, envs.num_actions)
        if saved:
            learner.restore(saved.learner)
    head_name = c.head if learner else "none"
    row = EpisodeRow(subject.game, subject.agent, head_name, c.seed, "", 0, 0.0, 0)
    with (
        console.orderly_stop() as stop,
        recorder(c, run, row, saved) as record,
        MetricsWriter(workdir, saved.agent_step if saved else -1) as metrics,
    ):
        returns = learn_and_play(c, subject, envs, learner, saved, record, metrics, stop)
    if stop:
        run.push("metrics.jsonl", "tensorboard")  # the last events
        at = f"{record.saved_at:,}"
        console.say(f"{run.name}: stopped, saved at agent step {at}; the same command resumes")
        return stop.status
    # The file has another name until it is complete: the first episodes that end are short, so an
    # incomplete file would be biased.
    run.check_held()
    os.replace(record.file, workdir / "scores.jsonl")
    mean, diverged = float(np.mean(returns)), learner.diverged_fits if learner else 0
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
    check_together(c)
    name, like = _FEATURES.value, _LIKE.value
    subject = resolve_subject(name, like=like, game=_GAME.value, agent=_AGENT.value, seed=c.seed)
    envs = AtariEnvs(subject.game, c.num_envs)
    if subject.features is not None:
        check_features_fit(subject.features, name, subject.game, envs.num_actions)
    config = {
        **c.to_dict(),
        "game": subject.game,
        "agent": subject.agent,
        "like": like or "",
        **features_identity(subject.features),
        "features": name,  # for information only: the path of the features
    }
    with open_run(
        _WORKDIR.value,
        "evaluate",
        config,
        overwrite=_OVERWRITE.value,
        owns=OWNS,
        pull=("summary.json", "metrics.jsonl", CHECKPOINTS),
        may_change=MAY_CHANGE,
        upgrade=lambda old: upgrade_config(old, subject),
    ) as run:
        return evaluate(c, subject, envs, run)


if __name__ == "__main__":
    console.run(main, memory="config.replay_capacity")
