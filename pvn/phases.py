"""The phases of an evaluation: an agent learns, from interaction or from labels, and plays."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import ml_collections
import numpy as np

from pvn.agent import epsilon_at, last_step, new_learner, new_replay
from pvn.data.gif import to_gif
from pvn.data.store import Dataset
from pvn.envs.environment import Environments
from pvn.envs.registry import protocol_of, time_limit
from pvn.errors import UserError
from pvn.evaluation.checkpoint import Checkpoint, restore_replay
from pvn.evaluation.labels import labelled_rows, remember_rows
from pvn.evaluation.learner import Learner
from pvn.evaluation.policy import save_policy
from pvn.evaluation.recorder import Recorder
from pvn.evaluation.replay import FeatureBuffer, Replay
from pvn.evaluation.rollout import (
    PlayedEpisode,
    PlayedStep,
    Rollout,
    counted_episodes,
    interact,
    play,
    remember,
)
from pvn.evaluation.stream import EpisodeStore, Position
from pvn.evaluation.subject import Subject
from pvn.evaluation.video import MAX_FRAMES, best_and_median, clip_frames
from pvn.runs import console
from pvn.runs.metrics import MetricsWriter
from pvn.runs.run_directory import command_line
from pvn.storage.files import write_whole
from pvn.storage.paths import make_folder

_CHUNK = 32  # labels of which the updates are made together


class Evaluation(NamedTuple):
    """What the phases of an evaluation share."""

    config: ml_collections.FrozenConfigDict
    subject: Subject
    envs: Environments
    record: Recorder
    metrics: MetricsWriter
    stop: console.Stop

    def counted(self, rollout: Rollout) -> list[PlayedEpisode]:
        """The evaluation episodes of a rollout."""
        return counted_episodes(rollout, self.config.eval_episodes)


OpenStore = Callable[[Position], EpisodeStore]
"""Opens the dataset of --save_dataset, of which so much is stored already."""


class Outcome(NamedTuple):
    """The result of an evaluation."""

    returns: list[float]  # of the evaluation episodes
    diverged_fits: int  # fits that diverged and were not used


def by_interaction(
    e: Evaluation, learner: Learner | None, saved: Checkpoint | None, open_store: OpenStore | None
) -> Outcome | None:
    """Learns from interaction, and plays. Returns None after a stop.

    Args:
      e: the evaluation.
      learner: None for uniformly random play.
      saved: where it resumes.
      open_store: opens the dataset that keeps what is played while it learns; None: not kept.
    """
    learned_at = last_step(e.config) if learner else 0
    if learner and saved:
        learner.restore(saved.learner)
    in_eval = saved if saved and saved.phase == "eval" else None
    if learner and not in_eval:
        store = open_store(saved.stored if saved else Position()) if open_store else None
        if not learn_by_interaction(e, learner, saved, store):
            return None
        if store:
            store.close()
    if learner:
        e.record.check_held()
        save_head(e, learner, learned_at)
    rollout = play_episodes(e, learner, learned_at, in_eval)
    return _outcome(e, rollout, learner)


def by_labels(e: Evaluation, saved: Checkpoint | None, dataset: Dataset) -> Outcome | None:
    """Learns from each number of labels, and plays. Returns the outcome with the most labels.

    Returns None after a stop.
    """
    rollout, learner = None, None
    for num_labels in e.config.num_labels:
        if saved and num_labels < saved.learned_at:
            continue
        if saved and num_labels == saved.learned_at:
            learner = new_learner(e.config, e.subject, e.envs.num_actions, num_envs=1)
            learner.restore(saved.learner)
        else:
            learner = learn_from_labels(e, dataset, num_labels)
            if learner is None:
                return None
            saved = None
        e.record.check_held()
        save_head(e, learner, num_labels)
        rollout = play_episodes(e, learner, num_labels, saved)
        if rollout is None:
            return None
        mean = np.mean([each.episode_return for each in e.counted(rollout)])
        console.say(f"{num_labels:,} labels: mean episode return {mean:.2f}")
    return _outcome(e, rollout, learner)


def learn_by_interaction(
    e: Evaluation, learner: Learner, saved: Checkpoint | None, store: EpisodeStore | None
) -> bool:
    """Plays and learns until `num_steps` agent steps are played. Returns False after a stop.

    Args:
      e: the evaluation.
      learner: restored from the checkpoint.
      saved: where the phase goes on; None: from the start.
      store: keeps what is played; None: it is not kept.

    Raises:
      UserError: a feature is not finite, the learner cannot continue, or the emulators do not show
        what they showed before the checkpoint.
    """
    c, rollout = e.config, Rollout(e.envs, 2 * e.config.seed)
    replay = new_replay(c, learner, c.num_envs, c.num_steps)
    of_frames = not isinstance(replay.states, FeatureBuffer)
    if saved:
        restore_replay(replay, saved.replay)
        for step in _restore(e, rollout, saved):
            if of_frames:  # a replay of frames is not in the checkpoint
                remember(replay, step.frame, step, c.clip_rewards)
            if store:
                store.add(step)
        if e.stop:
            return False
    steps = interact(
        rollout,
        learner,
        replay,
        num_steps=c.num_steps,
        epsilon=lambda agent_step: epsilon_at(c, agent_step),
        clip_rewards=c.clip_rewards,
    )
    recent: deque[float] = deque(maxlen=50)
    diverged_fits = learner.diverged_fits
    with console.progress(c.num_steps, "steps", f"learn {c.head}", rollout.agent_step) as bar:
        for agent_step, played, episodes, learned_at, numbers in steps:
            e.record.write("train", agent_step, episodes)
            if store and played:
                store.add(played)
            if numbers:
                e.metrics.write(learned_at, numbers)
            if learner.diverged_fits > diverged_fits:
                diverged_fits = learner.diverged_fits
                console.say(f"a fit diverged at {learned_at:,} agent steps and is not used")
            recent.extend(episode.episode_return for episode in episodes)
            if recent:
                bar.set_postfix_str(f"recent returns {np.mean(recent):.2f}", refresh=False)
            bar.update(agent_step - bar.n)
            # No checkpoint is between the last timestep and the last fit, which logs metrics too.
            if agent_step < last_step(c) and (e.stop or e.record.is_due(agent_step)):
                kept = None if of_frames else replay
                e.record.save("train", agent_step, rollout, learner, replay=kept, store=store)
                if e.stop:
                    return False
    return True


def _restore(e: Evaluation, rollout: Rollout, saved: Checkpoint) -> Iterator[PlayedStep]:
    """Repeats the actions of a checkpoint; ends early at a stop. Yields the timesteps."""
    with console.progress(saved.rollout["actions"].size, "steps", "emulators") as bar:
        for step in rollout.restore(saved.rollout):
            yield step
            bar.update(e.config.num_envs)
            if e.stop:
                return


def learn_from_labels(e: Evaluation, dataset: Dataset, num_labels: int) -> Learner | None:
    """Fits a new learner to the first `num_labels` rows of the data. Returns None after a stop.

    Args:
      e: the evaluation.
      dataset: the reward labels, with actions and frames.
      num_labels: M. All of them count, whatever `replay_capacity` says.

    Raises:
      UserError: a feature is not finite, or the learner cannot continue.
    """
    c = e.config
    learner = new_learner(c, e.subject, e.envs.num_actions, num_envs=1)
    states = learner.state_buffer(num_labels, 1)
    replay = Replay(num_labels, 1, states, n_step=c.n_step, discount=c.discount)
    index = labelled_rows(dataset, num_labels)
    with console.progress(num_labels, "labels", "features of labels") as bar:
        for count in remember_rows(replay, learner, dataset.rows, index, c.clip_rewards):
            bar.update(count)
            if e.stop:
                return None
    if not replay.starts()[0].size:
        raise UserError(
            f"config.num_labels: {num_labels}, expected more: none of the first {num_labels} rows "
            f"of --dataset begins {c.n_step} known steps"
        )
    with console.progress(num_labels, "labels", f"learn {c.head}") as bar:
        for label in range(0, num_labels, _CHUNK) if learner.gradual else ():
            learner.learn(replay, label)
            bar.update(min(_CHUNK, num_labels - label))
            if e.stop:
                return None
        if numbers := learner.finish(replay, num_labels):
            e.metrics.write(num_labels, numbers)
    return learner


def save_head(e: Evaluation, learner: Learner, learned_at: int) -> None:
    """Writes policy/: what was learned from `learned_at` agent steps, or labels.

    Raises:
      UserError: no fit succeeded.
    """
    workdir = e.record.workdir
    if not learner.num_fits:
        raise UserError(
            f"{workdir}: every fit diverged or had too few interactions, there is no head to play "
            "with; lower config.discount or config.n_step, or use config.head=dqn"
        )
    policy, (_, game, agent) = learner.policy(), e.subject
    if policy.features is not e.subject.features:  # they were trained here
        policy.features.metadata |= {
            "agent": f"{agent}_features",
            "game": game,
            "num_actions": policy.num_actions,
            "protocol": protocol_of(game),
            "seed": e.config.seed,
            "step": learned_at,
            "trained_by": "pvn.evaluate",
            "command": command_line(),
        }
    metadata = {"game": game, "head": e.config.head, "agent": agent}
    save_policy(workdir / "policy", policy, metadata)


def play_episodes(
    e: Evaluation, learner: Learner | None, learned_at: int, saved: Checkpoint | None = None
) -> Rollout | None:
    """Plays `eval_episodes` episodes. Returns the rollout that holds them, or None after a stop.

    Args:
      e: the evaluation.
      learner: None for uniformly random play.
      learned_at: agent steps, or labels, that the learner has learned from.
      saved: where the phase goes on; None: from the start.

    Raises:
      UserError: a feature is not finite, or the emulators do not show what they showed before the
        checkpoint.
    """
    c, rollout = e.config, Rollout(e.envs, 2 * e.config.seed + 1)
    if saved:
        for _ in _restore(e, rollout, saved):
            pass
        if e.stop:
            return None
        before = saved.agent_step - rollout.agent_step
    else:
        # With several numbers of labels all checkpoints share one count, which must rise.
        before = max(learned_at, e.record.saved_at + 1)
        e.record.save("eval", before, rollout, learner, learned_at=learned_at)
    act = learner.act if learner else None
    played, limit = e.counted(rollout), time_limit(e.subject.game)
    with console.progress(c.eval_episodes, "episodes", "evaluate", len(played)) as bar:
        for episodes in play(rollout, act, num_episodes=c.eval_episodes, epsilon=c.eval_epsilon):
            e.record.write("eval", learned_at, episodes)
            played += episodes
            bar.update(len(episodes))
            bar.set_postfix_str(_state_of_play(played, rollout.longest, limit), refresh=False)
            agent_step = before + rollout.agent_step
            if e.stop or e.record.is_due(agent_step):
                e.record.save("eval", agent_step, rollout, learner, learned_at=learned_at)
            if e.stop:
                return None
    return rollout


def draw_videos(e: Evaluation, rollout: Rollout) -> bool:
    """Draws the best and the median evaluation episode to videos/. Returns False after a stop."""
    folder = e.record.workdir / "videos"
    make_folder(folder, "videos")
    clips = best_and_median(e.counted(rollout))
    total = sum(min(clip.stop, clip.start + MAX_FRAMES) for clip in clips.values())
    with console.progress(total, "steps", "videos") as bar:
        for name, clip in clips.items():
            actions, frames = rollout.actions[:, clip.env], []
            for frame in clip_frames(e.subject.game, int(rollout.seeds[clip.env]), actions, clip):
                bar.update()
                if frame is not None:
                    frames.append(frame)
                if e.stop:
                    return False
            write_whole(folder / f"{name}.gif", to_gif(frames))
    return True


def _outcome(e: Evaluation, rollout: Rollout | None, learner: Learner | None) -> Outcome | None:
    """The outcome, after the videos are drawn. None after a stop, which also gives no rollout."""
    if rollout is None or (e.config.videos and not draw_videos(e, rollout)):
        return None
    returns = [episode.episode_return for episode in e.counted(rollout)]
    return Outcome(returns, learner.diverged_fits if learner else 0)


def _state_of_play(played: list[PlayedEpisode], longest: int, limit: int) -> str:
    mean = f"return {np.mean([each.episode_return for each in played]):.2f}, " if played else ""
    return f"{mean}longest running episode {longest:,} of {limit:,} steps"
