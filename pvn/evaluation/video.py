"""Videos of evaluation episodes, by playing the recorded actions again."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pvn.envs.registry import make_envs
from pvn.evaluation.rollout import PlayedEpisode

MAX_FRAMES = 1_800  # two minutes of play; a longer episode is cut


class Clip(NamedTuple):
    """Where an episode is in the actions of a rollout."""

    env: int
    start: int  # timestep
    stop: int


def best_and_median(episodes: Sequence[PlayedEpisode]) -> dict[str, Clip]:
    """The episode of highest return, and that of the (lower) median; the first of equals.

    episodes: the first ones of each environment since the boot, in the order in which they ended.
    """
    ends: dict[int, int] = {}
    clips = []
    for env, _, length in episodes:
        start = ends.get(env, 0)
        ends[env] = start + length
        clips.append(Clip(env, start, ends[env]))
    returns = [episode.episode_return for episode in episodes]
    order = np.argsort(returns, kind="stable")
    return {"best": clips[int(np.argmax(returns))], "median": clips[order[(len(order) - 1) // 2]]}


def clip_frames(
    game: str, seed: int, actions: np.ndarray, clip: Clip
) -> Iterator[np.ndarray | None]:
    """Plays actions again. Yields for each timestep the frame uint8; None before the clip.

    Args:
      game: its name.
      seed: of the environment's emulator.
      actions: int32 [timesteps], of this environment since the boot.
      clip: the episode; it is cut after `MAX_FRAMES`.
    """
    envs = make_envs(game, 1)
    envs.reset(np.array([seed]), np.ones(1, bool))
    for timestep, action in enumerate(actions[: min(clip.stop, clip.start + MAX_FRAMES)]):
        yield envs.frame[0].copy() if timestep >= clip.start else None
        step = envs.step(np.array([action]))
        if (ended := step.terminal | step.truncated).any():
            envs.restart(ended)
