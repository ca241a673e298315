import numpy as np
import pytest

from pvn.data.episodes import Episode, Tally, choose_checkpoints, pack
from pvn.errors import UserError


@pytest.mark.parametrize(
    ("there", "split", "expected"),
    [
        (range(50), "full", list(range(50))),
        (range(49), "full", list(range(49))),
        (range(50), "mixed", [0, 9, 19, 29, 39, 49]),
        (range(49), "mixed", [0, 9, 19, 29, 39, 48]),
        (range(51), "mixed_small", [0, 24, 50]),
        (range(49), "mixed_small", [0, 24, 48]),
        (range(50), "weak", [0]),
    ],
)
def test_published_splits(there, split, expected):
    assert choose_checkpoints("x", there, split, []) == expected


def test_chosen_checkpoints():
    assert choose_checkpoints("x", [3, 1, 7], None, []) == [1, 3, 7]
    assert choose_checkpoints("x", [3, 1, 7], None, [7, 1]) == [1, 7]
    with pytest.raises(UserError, match=r"^x: has no checkpoint 2, only 1,3-5; choose with"):
        choose_checkpoints("x", [5, 3, 1, 4], None, [1, 2])
    with pytest.raises(UserError, match=r"^x: has no checkpoint 9, only 0-2"):
        choose_checkpoints("x", range(3), "mixed", [])
    with pytest.raises(UserError, match=r"^x: holds no checkpoints$"):
        choose_checkpoints("x", [], "full", [])


def numbers(episode):
    """Of its rows, which are told apart by their actions and by their frames."""
    rows = [block.rows() for block in episode.blocks(5, Tally())]
    for each in rows:
        np.testing.assert_array_equal(each.frame[:, 3, 4], each.action)
    return np.concatenate([each.action for each in rows]).tolist() if rows else []


def test_rows_are_dropped_over_blocks():
    for count, left in ((0, 6), (1, 5), (3, 3), (4, 2), (6, 0)):
        episode = Episode()
        for start in (0, 2, 4):
            action = np.arange(start, start + 2)
            frames = np.zeros((2, 84, 84), np.uint8)
            frames[:, 3, 4] = action
            episode.append(pack(frames), action, np.zeros(2))
        episode.drop_last(count)
        assert episode.num_rows == left
        assert numbers(episode) == list(range(left))


def test_undefined_rewards_become_0_and_are_counted():
    episode, tally = Episode(cut_start=True), Tally({"nan_rewards": 1})
    reward = np.array([np.inf, np.nan, -1], np.float32)
    episode.append(pack(np.zeros((3, 84, 84), np.uint8)), np.zeros(3, int), reward)
    (rows,) = episode.blocks(0, tally)
    assert rows.reward.tolist() == [0, 0, -1]
    assert np.isnan(reward[1])  # the reader's own array is left alone
    assert tally.counts == {"nan_rewards": 3}
    assert (rows.cut_start.tolist(), rows.truncated.tolist()) == (
        [True, False, False], [False, False, True]
    )  # fmt: skip
