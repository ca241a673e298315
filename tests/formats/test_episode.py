import numpy as np

from pvn.envs.registry import time_limit
from pvn.formats.episode import TIME_LIMIT, RecordedEpisode
from pvn.formats.findings import Findings
from pvn.formats.packing import pack


def numbers(episode):
    """An episode whose rows differ in their actions and frames."""
    rows = [block.rows() for block in episode.blocks(5, Findings())]
    for each in rows:
        np.testing.assert_array_equal(each.frame[:, 3, 4], each.action)
    return np.concatenate([each.action for each in rows]).tolist() if rows else []


def test_rows_are_dropped_over_blocks():
    for count, left in ((0, 6), (1, 5), (3, 3), (4, 2), (6, 0)):
        episode = RecordedEpisode()
        for start in (0, 2, 4):
            action = np.arange(start, start + 2)
            frames = np.zeros((2, 84, 84), np.uint8)
            frames[:, 3, 4] = action
            episode.append(pack(frames), action, np.zeros(2))
        episode.drop_last(count)
        assert episode.num_rows == left
        assert numbers(episode) == list(range(left))


def test_undefined_rewards_become_0_and_are_counted():
    episode, findings = RecordedEpisode(cut_start=True), Findings({"nan_rewards": 1})
    reward = np.array([np.inf, np.nan, -1], np.float32)
    episode.append(pack(np.zeros((3, 84, 84), np.uint8)), np.zeros(3, int), reward)
    (rows,) = episode.blocks(0, findings)
    assert rows.reward.tolist() == [0, 0, -1]
    assert np.isnan(reward[1])  # the reader's own array does not change
    assert findings.counts == {"nan_rewards": 3}
    assert (rows.cut_start.tolist(), rows.truncated.tolist()) == (
        [True, False, False], [False, False, True]
    )  # fmt: skip


def test_the_time_limit_is_that_of_the_protocol():
    assert time_limit("Pong") == TIME_LIMIT
