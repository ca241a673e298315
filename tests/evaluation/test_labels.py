import numpy as np
import pytest

from pvn.data.layout import Rows
from pvn.data.store import Dataset
from pvn.errors import UserError
from pvn.evaluation.labels import labelled_rows, num_labelled, remember_rows
from pvn.evaluation.learner import Acted
from pvn.evaluation.replay import FeatureBuffer, Replay


def dataset_rows():
    """Four episodes of 6, 5 (a fragment), 4 and 3 rows; frame number i is full of i."""
    lengths = [6, 5, 4, 3]
    count = sum(lengths)
    episode = np.repeat(np.arange(4, dtype=np.int32), lengths)
    terminal, truncated, cut = (np.zeros(count, bool) for _ in range(3))
    terminal[5] = terminal[14] = True
    truncated[10], cut[6] = True, True
    frame = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 84, 84))
    return Rows(
        frame=frame, action=np.arange(count, dtype=np.int32), truncated=truncated,
        reward=np.arange(count, dtype=np.float32) - 8, terminal=terminal, cut_start=cut,
        episode=episode, **({"ram": None} if "ram" in Rows._fields else {}),
    )  # fmt: skip


class PixelLearner:
    """The features are the pixels of the four frames."""

    def act(self, observation):
        return Acted(observation[:, 0, 0].astype(np.float32), None)

    def to_keep(self, observation, acted):
        return acted.features


def test_rows_of_a_dataset_become_interactions():
    rows = dataset_rows()
    index = labelled_rows(Dataset(("a",), {}, rows, np.array([0, 18])), 15)
    assert index.tolist() == [*range(6), 9, 10, *range(11, 18)]  # rows 6 to 8 lack a frame
    replay = Replay(20, 1, FeatureBuffer(20, 1, 4), n_step=2, discount=0.5)
    assert sum(remember_rows(replay, PixelLearner(), rows, index, True)) == 15
    time, env = replay.starts()
    # Row 10 is truncated (place 7 in the replay), and so is row 17, the last one.
    assert time.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    batch = replay.gather(time, env)
    assert batch.a_tm1.tolist() == [*range(6), 9, *range(11, 16)]
    assert batch.s_tm1[[1, 6, 9]].tolist() == [[0, 0, 0, 1], [6, 7, 8, 9], [0, 11, 12, 13]]
    reward = np.clip(rows.reward, -1, 1)
    by_row = dict(
        zip(batch.a_tm1.tolist(), zip(batch.r_t, batch.discount_t, strict=True), strict=True)
    )
    assert by_row[0] == (reward[0] + 0.5 * reward[1], 0.25)
    assert by_row[5] == (reward[5], 0)
    assert by_row[9] == (reward[9], 0.5)  # bootstraps from the truncated row 10
    assert by_row[14] == (reward[14], 0)


def test_features_that_are_not_finite_name_the_row():
    class Broken(PixelLearner):
        def act(self, observation):
            features = observation[:, 0, 0].astype(np.float32)
            return Acted(np.where(features == 12, np.nan, features), None)

    rows = dataset_rows()
    index = labelled_rows(Dataset(("a",), {}, rows, np.array([0, 18])), 15)
    replay = Replay(20, 1, FeatureBuffer(20, 1, 4), n_step=2, discount=0.5)
    with pytest.raises(UserError, match="for the observation of row 12 of the dataset;"):
        list(remember_rows(replay, Broken(), rows, index, True))


def test_labels_are_the_first_rows_of_each_dataset_in_proportion():
    """The first two episodes, of which 8 rows can be used, are a dataset, and the other 7 rows."""
    rows = dataset_rows()
    two = Dataset(("a", "b"), {}, rows, np.array([0, 11, 18]))
    assert num_labelled(two) == 15
    assert labelled_rows(two, 15).tolist() == [*range(6), 9, 10, *range(11, 18)]
    for count in range(1, 16):
        index = labelled_rows(two, count)
        assert len(index) == count
        assert abs(np.sum(index < 11) - count * 8 / 15) <= 0.5
    index = labelled_rows(two, 7)
    assert index.tolist() == [0, 1, 2, 3, 11, 12, 13]
    replay = Replay(20, 1, FeatureBuffer(20, 1, 4), n_step=1, discount=0.5)
    assert sum(remember_rows(replay, PixelLearner(), rows, index, True)) == 7
    batch = replay.gather(*replay.starts())
    # Rows 3 and 13 are truncated: what follows them is not a label.
    assert batch.a_tm1.tolist() == [0, 1, 2, 11, 12]
    assert batch.s_t[:, -1].tolist() == [1, 2, 3, 12, 13]
