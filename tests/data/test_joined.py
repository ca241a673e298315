import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data.joined import open_datasets, transitions_of
from pvn.data.layout import Rows
from pvn.data.store import fingerprint
from pvn.data.writer import DatasetWriter
from pvn.errors import UserError
from tests.datasets import read_dataset

MADE = {"game": "Pong", "num_actions": 6, "protocol": {"sticky": 0.25}, "source": {"kind": "test"}}
LENGTHS = (70, 5, 130)


def make_rows(count, seed):
    random = np.random.default_rng(seed)
    frame = np.zeros((count, 84, 84), np.uint8)
    frame[:, 0, :2] = random.integers(0, 256, (count, 2))
    terminal = np.arange(count) % 5 == 4
    return Rows(
        frame=frame,
        action=random.integers(0, 6, count).astype(np.int32),
        reward=random.normal(size=count).astype(np.float32),
        terminal=terminal,
        truncated=~terminal & (np.arange(count) == count - 1),
        cut_start=np.arange(count) == 0,
        episode=(np.arange(count) // 5).astype(np.int32),
        ram=random.integers(0, 256, (count, 128)).astype(np.uint8),
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for number, count in enumerate(LENGTHS):
        made = MADE | {"n": number, "ram": True}
        DatasetWriter(folder / str(number), made).commit(make_rows(count, number))
    return [str(folder / str(number)) for number in range(3)]


def test_ram_is_there_if_all_datasets_have_it(paths, tmp_path):
    ram = np.concatenate([read_dataset(path).rows.ram for path in paths])
    at = np.array([204, 3, 71, 69])
    np.testing.assert_array_equal(open_datasets(paths).rows.ram[at], ram[at], strict=True)
    DatasetWriter(tmp_path, MADE).commit(make_rows(5, 9)._replace(ram=None))
    assert open_datasets([*paths, str(tmp_path)]).rows.ram is None


@pytest.mark.parametrize("count", [1, 3])
def test_rows_are_chosen_as_numpy_does(paths, count):
    memory = np.concatenate([read_dataset(path).rows.frame for path in paths[:count]])
    frame, mask = open_datasets(paths[:count]).rows.frame, np.zeros(len(memory), bool)
    mask[[2, 40, -1]] = True
    for rows in (
        *(slice(None, None, 7), slice(60, 74), slice(5, 5), slice(9, 3), slice(-3, None)),
        *(slice(None, None, -30), mask, np.array([[3, 0], [66, 3]]), np.array([], int)),
    ):
        np.testing.assert_array_equal(frame[rows], memory[rows], strict=True, err_msg=str(rows))


def test_one_dataset_is_itself(paths):
    one, dataset = open_datasets(paths[:1]), read_dataset(paths[0])
    assert one.compute_fingerprint() == fingerprint(paths[0])
    assert one.attributes == dataset.attributes
    assert one.starts.tolist() == [0, 70]
    np.testing.assert_array_equal(one.rows.frame[:], dataset.rows.frame)


def test_several_are_concatenated(paths):
    dataset = open_datasets(paths)
    assert dataset.starts.tolist() == [0, 70, 75, 205]
    parts = [read_dataset(path).rows for path in paths]
    for name in ("action", "reward", "terminal", "truncated", "cut_start"):
        expected = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(getattr(dataset.rows, name), expected, strict=True)
    # 14, 1 and 26 episodes, numbered consecutively.
    np.testing.assert_array_equal(dataset.rows.episode, np.arange(205) // 5)
    assert dataset.rows.episode.dtype == np.int32
    assert len(dataset.rows.frame) == 205
    assert dataset.attributes["source"] == [{"kind": "test"}] * 3
    orders = (paths, paths[::-1], paths[:2])
    others = {open_datasets(order).compute_fingerprint() for order in orders}
    assert len(others) == 3


def test_the_same_data_twice_would_count_twice(paths, tmp_path):
    shutil.copytree(paths[1], tmp_path / "copy")
    for other in (paths[1], str(tmp_path / "copy")):
        with pytest.raises(UserError) as caught:
            open_datasets([paths[0], paths[1], other]).compute_fingerprint()
        assert str(caught.value) == (
            f"dataset {other}: holds the same data as {paths[1]}; expected each dataset once"
        )


def test_transitions_of_each_dataset(paths):
    dataset = open_datasets(paths)
    transitions = transitions_of(dataset)
    # Episodes of five. The first of each dataset is cut: its first three rows have no stack.
    assert transitions.groups.tolist() == [0, 67, 69, 196]
    assert transitions.rows is dataset.rows


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data())
def test_frames_are_found_wherever_they_are(paths, data):
    frames = open_datasets(paths).rows.frame
    expected = np.concatenate([read_dataset(path).rows.frame for path in paths])
    first = data.draw(st.integers(0, 204))
    stop = data.draw(st.integers(first + 1, 210))
    np.testing.assert_array_equal(frames[first:stop], expected[first:stop], strict=True)
    at = np.array(data.draw(st.lists(st.integers(0, 204), min_size=4, max_size=12)))
    np.testing.assert_array_equal(frames[at], expected[at], strict=True)
    square = at[:4].reshape(2, 2)
    np.testing.assert_array_equal(frames[square], expected[square], strict=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"game": "Breakout"}, "its game is Breakout, that of .*0 is Pong; expected the same"),
        ({"num_actions": 18}, "its num_actions is 18, that of .*0 is 6; expected the same"),
        ({"protocol": {"sticky": 0}}, "its protocol is {'sticky': 0}, that of .*"),
    ],
)
def test_datasets_that_do_not_go_together(paths, tmp_path, change, message):
    DatasetWriter(tmp_path, MADE | change).commit(make_rows(5, 0))
    with pytest.raises(UserError, match=f"^dataset {tmp_path}: {message}$"):
        open_datasets([paths[0], str(tmp_path)])
