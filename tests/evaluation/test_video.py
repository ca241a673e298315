import io

import numpy as np
from PIL import Image

from pvn.data.gif import to_gif
from pvn.envs.atari import AtariEnvs
from pvn.evaluation.rollout import PlayedEpisode, Rollout
from pvn.evaluation.video import Clip, best_and_median, clip_frames


def test_best_and_median_by_hand():
    returns = [(0, 3.0, 5), (1, 9.0, 7), (0, 1.0, 4), (1, 9.0, 2), (2, 4.0, 30)]
    chosen = best_and_median([PlayedEpisode(*each) for each in returns])
    # The first of the two with 9, and 4, the third of five.
    assert chosen == {"best": Clip(1, 0, 7), "median": Clip(2, 0, 30)}
    even = best_and_median([PlayedEpisode(*each) for each in returns[:4]])
    assert even == {"best": Clip(1, 0, 7), "median": Clip(0, 0, 5)}
    assert best_and_median([PlayedEpisode(0, 1.0, 4)]) == dict.fromkeys(
        ["best", "median"], Clip(0, 0, 4)
    )


def test_the_video_shows_the_frames_of_the_episode():
    rollout = Rollout(AtariEnvs("Breakout", 2), seed=2)
    steps = []
    while rollout.num_episodes[1] < 2:
        steps.append(rollout.take(rollout.choose(None, 1.0)[0])[0])
    first, second = [e.length for e in rollout.episodes if e.env == 1][:2]
    clip = Clip(1, first, first + second)
    played = list(clip_frames("Breakout", int(rollout.seeds[1]), rollout.actions[:, 1], clip))
    assert played[:first] == [None] * first
    expected = [step.frame[1] for step in steps[first : first + second]]
    np.testing.assert_array_equal(played[first:], expected)
    image = Image.open(io.BytesIO(to_gif(played[first:])))
    shown, at = [], 0
    for number in range(image.n_frames):  # equal frames in succession are one, and last longer
        image.seek(number)
        shown.append((round(at / 70), np.asarray(image.convert("L"))[::2, ::2]))
        at += image.info["duration"]
    assert abs(at / 70 - second) < 0.05 * second
    for timestep, frame in shown[:: max(len(shown) // 10, 1)]:
        near = [
            steps[first + k].frame[1]
            for k in range(max(timestep - 3, 0), timestep + 4)
            if k < second
        ]
        assert min(np.abs(frame.astype(int) - other).max() for other in near) <= 8
