"""Videos of evaluation episodes, by playing the recorded actions again."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from pvn.envs.atari import AtariEnvs
from pvn.evaluation.rollout import PlayedEpisode

MAX_FRAMES = 1_800  # two minutes of play; a longer episode is cut
_FRAME_MS = 70  # an agent step is four emulator frames at 60 Hz; a GIF counts in 10 ms
_SCALE = 2


class Clip(NamedTuple):
    """Where an episode is in the actions of a rollout."""

    env: int
    start: int  # timestep
    stop: int


def best_and_median(episodes: Sequence[PlayedEpisode]) -> dict[str, Clip]:
    """The episode of highest return, and that of the (lower) median; the first of equals.

    episodes: all episodes of a rollout since the boot, in the order in which they ended.
    """
    ends: dict[int, int] = {}
    clips = []
    for env, _, length in episodes:
        start = ends.get(env, 0)
        ends[env] = start + length
        clips.append(Clip(env, start, ends[env]))
    order = np.argsort([episode.episode_return for episode in episodes], kind="stable")
    best = next(i for i, e in enumerate(episodes) if e.episode_return == episodes[order[-1]][1])
    return {"best": clips[best], "median": clips[order[(len(order) - 1) // 2]]}


def record(game: str, seed: int, actions: np.ndarray, clip: Clip) -> bytes:
    """An episode as an animated GIF of its frames, at the speed of the game.

    Args:
      game: its name.
      seed: of the environment's emulator.
      actions: int32 [timesteps], of this environment since the boot.
      clip: the episode.
    """
    envs = AtariEnvs(game, 1)
    envs.reset(np.array([seed]), np.ones(1, bool))
    frames = []
    for timestep, action in enumerate(actions[: min(clip.stop, clip.start + MAX_FRAMES)]):
        if timestep >= clip.start:
            frames.append(envs.frame[0].repeat(_SCALE, axis=0).repeat(_SCALE, axis=1))
        step = envs.step(np.array([action]))
        if (ended := step.terminal | step.truncated).any():
            envs.restart(ended)
    first, *rest = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "gif", save_all=True, append_images=rest, duration=_FRAME_MS, loop=0)
    return stream.getvalue()
