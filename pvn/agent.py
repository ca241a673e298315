"""What the config of an evaluation describes: its fields, and the agent that learns."""

from typing import Any

import ml_collections
import numpy as np

from pvn.data.store import Dataset
from pvn.envs.registry import observation_of_game
from pvn.errors import UserError
from pvn.evaluation.labels import num_labelled
from pvn.evaluation.learner import Learner, LearnerContext
from pvn.evaluation.registry import LEARNERS, SECTIONS, make_learner
from pvn.evaluation.replay import Replay
from pvn.evaluation.subject import Subject
from pvn.fields import SEED, Fields, choice, flag, real, whole, wholes
from pvn.machine import usable_memory

FIELDS: Fields = {
    "seed": SEED,
    "num_envs": whole(1, 10_000),
    "head": choice(*LEARNERS),
    "num_steps": whole(1),
    "num_labels": wholes(1),
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
    "videos": flag(),
    "checkpoint_every": whole(1),
    **SECTIONS,
}


def settings_of(c: ml_collections.FrozenConfigDict) -> dict[str, Any]:
    """The config without the sections that its learner does not read."""
    unread = SECTIONS.keys() - {*LEARNERS[c.head].sections}
    return {name: value for name, value in c.to_dict().items() if name not in unread}


def check_encoder(c: ml_collections.FrozenConfigDict) -> None:
    """Raises `UserError` if the encoder is to be trained by a head that cannot train it."""
    if c.dqn.encoder_learning_rate and not LEARNERS[c.head].gradual:
        raise UserError(
            f"config.dqn.encoder_learning_rate: {c.dqn.encoder_learning_rate}, expected 0 with "
            f"config.head={c.head}, which does not train the encoder"
        )


def check_together(c: ml_collections.FrozenConfigDict) -> None:
    """Checks the config's fields against each other.

    Raises:
      UserError: nothing would be learned within `num_steps`.
    """
    needed = max(first_learning(c), c.num_envs * (c.n_step + 1))
    if last_step(c) < needed:
        raise UserError(
            f"config.num_steps: {c.num_steps} ends before anything is learned, expected at least "
            f"{-(-needed // c.num_envs) * c.num_envs}"
        )


def first_learning(c: ml_collections.FrozenConfigDict) -> int:
    """The agent step of the first fit or update."""
    return int(c.learn_after + (c.dqn.update_every if LEARNERS[c.head].gradual else 0))


def check_labels(
    c: ml_collections.FrozenConfigDict, dataset: Dataset, subject: Subject, num_actions: int
) -> None:
    """Checks datasets of labels.

    Raises:
      UserError: it is of another game or action set, has too few rows, or nothing would be
        learned.
    """
    name = ",".join(dataset.paths)
    if subject.features is None:
        raise UserError("--dataset: goes with features, not with --features=none")
    if (game := dataset.attributes["game"]) != subject.game:
        raise UserError(f"--dataset={name}: is of {game}, expected {subject.game}")
    if (found := dataset.attributes["num_actions"]) != num_actions:
        raise UserError(f"--dataset={name}: has {found} actions, expected {num_actions}")
    have = num_labelled(dataset)
    if (
        not c.num_labels
        or max(c.num_labels) > have
        or list(c.num_labels) != sorted({*c.num_labels})
    ):
        raise UserError(
            f"config.num_labels: {c.num_labels}, expected ascending numbers of at most {have}, the "
            f"rows of --dataset={name} with all their frames"
        )
    # From labels, a head in closed form is fitted once, whatever `learn_after` says.
    needed = max(first_learning(c) if LEARNERS[c.head].gradual else 0, c.n_step + 1)
    if min(c.num_labels) < needed:
        raise UserError(
            f"config.num_labels: {min(c.num_labels)} ends before anything is learned, expected at "
            f"least {needed}"
        )


def check_memory(c: ml_collections.FrozenConfigDict, learner: Learner, labels: bool) -> None:
    """Raises `UserError` if the replay and fits to it exceed the memory of this process.

    labels: whether it holds the labels of a dataset, not interactions.
    """
    rows = max(c.num_labels) if labels else min(c.replay_capacity, c.num_steps)
    if (needed := learner.replay_bytes(rows)) > (have := usable_memory()):
        field = "num_labels" if labels else "replay_capacity"
        raise UserError(
            f"config.{field}: to learn from a replay of {rows:,} interactions takes "
            f"{needed / 2**30:,.1f} GiB, and a process may use {have / 2**30:,.1f}; expected fewer"
        )


def last_step(c: ml_collections.FrozenConfigDict) -> int:
    """The agent step at which learning ends: `num_steps`, in whole timesteps."""
    return int(c.num_steps // c.num_envs * c.num_envs)


def new_learner(
    c: ml_collections.FrozenConfigDict, subject: Subject, num_actions: int, num_envs: int
) -> Learner:
    """The learner of config `c`, before it has learned.

    num_envs: E, of the replay.
    """
    assert subject.features is not None
    shared = {name: c[name] for name in ("discount", "n_step", "clip_rewards", "seed")}
    context = LearnerContext(
        subject.features,
        num_actions,
        num_envs,
        learn_after=c.learn_after,
        observation=observation_of_game(subject.game),
        **shared,
    )
    return make_learner(c.head, context, c.to_dict())


def new_replay(
    c: ml_collections.FrozenConfigDict, learner: Learner, num_envs: int, num_steps: int
) -> Replay:
    """An empty replay for `num_steps` agent steps, or for fewer if `replay_capacity` is lower."""
    wanted = -(-min(c.replay_capacity, num_steps) // num_envs)
    capacity = max(wanted, c.n_step + 5)
    states = learner.state_buffer(capacity, num_envs)
    return Replay(capacity, num_envs, states, n_step=c.n_step, discount=c.discount)


def epsilon_at(c: ml_collections.FrozenConfigDict, agent_step: int) -> float:
    """The probability of a random action at an agent step.

    It is `epsilon_start` until `learn_after`, and then falls linearly to `epsilon_end` over
    `epsilon_decay_steps`.
    """
    share = np.clip((agent_step - c.learn_after) / c.epsilon_decay_steps, 0.0, 1.0)
    return float(c.epsilon_start + share * (c.epsilon_end - c.epsilon_start))
