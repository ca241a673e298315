"""Fits a linear head to rewards on frozen features, and plays with it.

    python -m pvn.evaluate --config=configs/evaluate.py --features=runs/pong \
        --workdir=runs/pong/eval

`--features` is a run or features directory, `random` (the same architecture untrained), or `none`
(uniformly random play). Scores go to scores.jsonl, a row an episode; the head and its features go
to policy/, which `python -m pvn.collect --policy=` plays with. A finished run is left alone; one
that was interrupted starts again, for its replay is gone.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.envs.atari import PROTOCOL, AtariEnvs
from pvn.errors import UserError
from pvn.evaluation.dqn import Head, zero_head
from pvn.evaluation.learners import SETTINGS, make_learner
from pvn.evaluation.policy import save_policy
from pvn.evaluation.replay import FeatureReplay
from pvn.evaluation.rollout import Episode, Rollout, interact, make_act, play
from pvn.features import Features, load_features, random_features
from pvn.fields import Field, choice, flag, real, whole
from pvn.files import write_json
from pvn.run_directory import MetricsWriter, open_run

_CONFIG = cfg.define_config("configs/evaluate.py")
_FEATURES = flags.DEFINE_string(
    "features", None, "Run or features directory, `random` or `none`.", required=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the scores.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the evaluation in --workdir.")

FIELDS = {
    "game": Field(str, lambda x: True, "a game, or nothing"),
    "like": Field(str, lambda x: True, "a run directory, or nothing"),
    "method": Field(str, lambda x: True, "a name, or nothing"),
    "seed": whole(0, 2**31 - 1),
    "num_envs": whole(1),
    "head": choice("fqi", "dqn"),
    "num_steps": whole(1),
    "discount": real(0, 1, closed="[)"),
    "n_step": whole(1),
    "clip_rewards": flag(),
    "epsilon_start": real(0, 1, closed="[]"),
    "epsilon_end": real(0, 1, closed="[]"),
    "epsilon_decay_steps": whole(1),
    "replay_capacity": whole(1),
    "learn_after": whole(1),
    "fqi_refit_every": whole(1),
    "fqi_iterations": whole(1),
    "fqi_held_out": real(0, 1, closed="()"),
    "dqn_update_every": whole(1),
    "dqn_batch_size": whole(1),
    "dqn_learning_rate": real(0, float("inf"), closed="()"),
    "dqn_adam_epsilon": real(0, float("inf"), closed="()"),
    "dqn_max_gradient_norm": real(0, float("inf"), closed="()"),
    "dqn_target_period": whole(1),
    "eval_episodes": whole(1),
    "eval_epsilon": real(0, 1, closed="[]"),
}
OWNS = (
    "scores.jsonl",
    "metrics.jsonl",
    "tensorboard",
    "policy",
    "summary.json",
    "scores.jsonl.partial",
)


def linear_epsilon(step: int, start: float, end: float, decay_steps: int) -> float:
    """Linear from `start` at step 0 to `end` at `decay_steps`, then `end`."""
    return start + min(step / decay_steps, 1.0) * (end - start)


def _load(c: ml_collections.FrozenConfigDict, name: str) -> tuple[Features | None, str, str]:
    """(features, their method, the game)."""
    if name == "none":
        features, method, game = None, "random_policy", c.game
    else:
        if name == "random":
            features = random_features(like=c.like or None, seed=c.seed)
        else:
            features = load_features(name)
        method = features.metadata.get("agent", "features")
        game = c.game or features.metadata.get("game")
    if not game:
        raise UserError(f"config.game: is empty, expected a game (--features={name} names none)")
    return features, c.method or method, game


def _check_fit(features: Features, name: str, game: str, num_actions: int) -> None:
    """Raises `UserError` unless the features come from games played like this one."""
    learned = features.metadata.get("num_actions", num_actions)
    if learned != num_actions:
        raise UserError(
            f"features {name}: were learned with {learned} actions on "
            f"{features.metadata['game']}; {game} has {num_actions}"
        )
    protocol: dict[str, Any] = features.metadata.get("protocol", PROTOCOL)
    differ = [key for key in PROTOCOL if protocol.get(key) != PROTOCOL[key]]
    if differ:
        raise UserError(
            f"features {name}: were learned from other observations: "
            + ", ".join(f"{k} {protocol.get(k)}, here {PROTOCOL[k]}" for k in differ)
        )


def evaluate(
    c: ml_collections.FrozenConfigDict, features_name: str, workdir: Path, overwrite: bool
) -> int:
    """Runs the evaluation `c` of these features in `workdir`. Returns the exit status."""
    if c.num_steps < max(c.learn_after, c.num_envs * (c.n_step + 1)):
        raise UserError(
            f"config.num_steps: {c.num_steps} ends before anything is learned, expected at least "
            f"config.learn_after ({c.learn_after}) and config.num_envs * (config.n_step + 1) "
            f"({c.num_envs * (c.n_step + 1)})"
        )
    features, method, game = _load(c, features_name)
    envs = AtariEnvs(game, c.num_envs)
    if features is not None:
        _check_fit(features, features_name, game, envs.num_actions)
    identity = {"features": features_name}
    if features is not None:
        identity["features_sha256"] = features.metadata.get("sha256", "")
    open_run(
        workdir, "evaluate", {**c.to_dict(), **identity}, overwrite=overwrite, owns=OWNS
    ).__enter__()
    summary = workdir / "summary.json"
    if summary.is_file():
        done = json.loads(summary.read_text())
        console.say(f"{workdir}: complete, mean return {done['return']:.2f}")
        return 0

    head: Head | None = None
    head_name = c.head if features is not None else "none"
    agent_step, diverged = 0, 0
    scores: list[float] = []
    metrics = MetricsWriter(workdir, -1)
    # Under another name until it is whole: the first episodes to end are the short ones.
    partial = workdir / "scores.jsonl.partial"
    with partial.open("w") as stream, console.orderly_stop() as stop:

        def record(episode: Episode, phase: str) -> None:
            row = {
                "game": game,
                "method": method,
                "head": head_name,
                "seed": c.seed,
                "phase": phase,
                "agent_step": agent_step,
                "return": episode.score,
                "length": episode.length,
            }
            stream.write(json.dumps(row) + "\n")
            stream.flush()

        act = None
        if features is not None:
            act = make_act(features)
            learner = make_learner(
                num_features=features.num_features,
                num_actions=envs.num_actions,
                log=metrics.write,
                say=console.say,
                **{name: c[name] for name in SETTINGS},
            )
            size = min(c.replay_capacity, c.num_steps)
            replay = FeatureReplay(
                max(size // c.num_envs, c.n_step + 2),
                c.num_envs,
                features.num_features,
                n_step=c.n_step,
                discount=c.discount,
            )
            recent: list[float] = []

            def learned(step: int, episodes: list[Episode]) -> None:
                nonlocal agent_step
                agent_step = step
                for episode in episodes:
                    record(episode, "train")
                    recent.append(episode.score)
                bar.update(c.num_envs)
                if recent:
                    bar.set_postfix_str(f"last returns {np.mean(recent[-50:]):.2f}", refresh=False)

            with console.progress(c.num_steps, "steps", f"learn {c.head}") as bar:
                interact(
                    Rollout(envs, act, seed=2 * c.seed),
                    learner,
                    replay,
                    zero_head(features.num_features, envs.num_actions),
                    num_steps=c.num_steps,
                    num_envs=c.num_envs,
                    epsilon=lambda step: linear_epsilon(
                        step, c.epsilon_start, c.epsilon_end, c.epsilon_decay_steps
                    ),
                    clip_rewards=c.clip_rewards,
                    report=learned,
                    stop=lambda: bool(stop),
                )
            head, diverged = learner.head, learner.diverged_fits
            if head is None and not stop:
                raise UserError(
                    f"{workdir}: every fit diverged, there is no head to play with; lower "
                    "config.discount or config.n_step, or use config.head=dqn"
                )
            if head is not None and not stop:
                save_policy(
                    workdir / "policy",
                    features,
                    head,
                    {"game": game, "num_actions": envs.num_actions, "head": head_name},
                )

        def played(episode: Episode) -> None:
            record(episode, "eval")
            scores.append(episode.score)
            bar.update()
            bar.set_postfix_str(f"return {np.mean(scores):.2f}", refresh=False)

        if not stop:
            with console.progress(c.eval_episodes, "episodes", "evaluate") as bar:
                play(
                    Rollout(envs, act, seed=2 * c.seed + 1),
                    head,
                    num_envs=c.num_envs,
                    num_episodes=c.eval_episodes,
                    epsilon=c.eval_epsilon,
                    report=played,
                    stop=lambda: bool(stop),
                )
    metrics.close()
    if stop:
        console.say(f"{workdir}: interrupted; the same command starts this evaluation again")
        return stop.status
    os.replace(partial, workdir / "scores.jsonl")
    mean = float(np.mean(scores))
    write_json(summary, {"return": mean, "episodes": len(scores), "diverged_fits": diverged})
    console.say(
        f"{workdir}: {method} on {game}, mean return {mean:.2f} over {len(scores)} episodes"
        + (f"; {diverged} fits diverged and were not used" if diverged else "")
    )
    return 0


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    config = cfg.check_config(_CONFIG.value, FIELDS)
    return evaluate(config, _FEATURES.value, Path(_WORKDIR.value), _OVERWRITE.value)


if __name__ == "__main__":
    console.run(main)
