"""Units read by real processes, some of which fail or are killed."""

import functools
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from pvn.data.dopamine import dopamine_units
from pvn.data.episodes import CorruptError, Episode, Tally, Unit, pack
from pvn.data.readers import Readers
from pvn.data.rlds import rlds_units
from pvn.errors import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures"


def play(lengths, fail, tally):
    """Episodes of these lengths, and then what `fail` does."""
    for length in lengths:
        episode = Episode()
        frames = np.full((length, 84, 84), length, np.uint8)
        episode.append(pack(frames), np.full(length, length), np.full(length, np.nan))
        tally.position += length
        yield episode
    tally.leave_out("skipped_episodes", f"one of {lengths}")
    if fail:
        fail()


def break_off():
    raise CorruptError("unit: is broken")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def run_into_a_bug():
    raise ZeroDivisionError


def fill_the_disk():
    raise OSError(28, "No space left on device")


def lose_the_file():
    raise FileNotFoundError(2, "No such file or directory", "/some/file")


def units_of(*plan):
    return [
        Unit(f"unit {number}", sum(lengths), functools.partial(play, lengths, fail))
        for number, (lengths, fail) in enumerate(plan)
    ]


def read(readers, number, tally):
    """(actions of its episodes, its episode numbers)"""
    rows = [block.rows() for block in readers.blocks(number, tally)]
    for each in rows:
        np.testing.assert_array_equal(each.frame, np.broadcast_to(each.action[0], each.frame.shape))
    return [(each.action.tolist(), each.episode.tolist()) for each in rows]


@pytest.mark.parametrize("num_processes", [2, 3, 9])
def test_any_number_of_processes_hands_over_the_same(tmp_path, num_processes):
    units = [
        *dopamine_units(FIXTURES / "dopamine", "Breakout", [1], None, [], False),
        *rlds_units(
            FIXTURES / "rlds_raw", "Breakout", [1], None, [], False,
            raw=True, last_row="frame",
        ),
    ]  # fmt: skip
    assert len(units) == 5

    def everything(num_processes):
        tally, found = Tally(), []
        with Readers(units, num_processes, tmp_path) as readers:
            for number in range(len(units)):
                found += (block.rows() for block in readers.blocks(number, tally))
        return tally.counts, found

    counts, expected = everything(1)
    found_counts, found = everything(num_processes)
    assert found_counts == counts == {"ended_games": 4}
    assert len(found) == len(expected)
    for rows, others in zip(found, expected, strict=True):
        for column, other in zip(rows, others, strict=True):
            np.testing.assert_array_equal(column, other, strict=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_broken_unit_does_not_touch_the_next(tmp_path, num_processes):
    tally = Tally()
    with Readers(units_of(([3], None), ([4, 2], break_off), ([5], None)), num_processes) as readers:
        assert read(readers, 0, tally) == [([3] * 3, [0] * 3)]
        assert tally.position == 3
        found = []
        with pytest.raises(CorruptError, match=r"^unit: is broken$"):
            found += (block.action.tolist() for block in readers.blocks(1, tally))
        assert found == [[4] * 4, [2] * 2]
        assert read(readers, 2, tally) == [([5] * 5, [0] * 5)]
    assert tally.counts == {"nan_rewards": 14, "skipped_episodes": 3}
    assert tally.problems == ["one of [3]", "one of [4, 2]", "one of [5]"]


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (die, r"unit 1: the process that reads it died \(exit status -9\); --num_processes=1 need"),
        (run_into_a_bug, r"unit 1: the process that reads it died \(exit status 1\)$"),
    ],
)
def test_a_process_that_dies_is_told_in_its_turn(tmp_path, capfd, fail, message):
    units = units_of(([3], None), ([4], fail), ([5], None), ([6], None))
    with Readers(units, 2, tmp_path) as readers:
        assert read(readers, 0, Tally()) == [([3] * 3, [0] * 3)]
        with pytest.raises(UserError, match=message):
            read(readers, 1, Tally())
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []
    assert ("ZeroDivisionError" in capfd.readouterr().err) == (fail is run_into_a_bug)


def test_a_full_disk_is_told(tmp_path):
    units = units_of(([3], fill_the_disk), ([4], lose_the_file))
    with Readers(units, 2, tmp_path) as readers:
        with pytest.raises(UserError) as caught:
            read(readers, 0, Tally())
        assert str(caught.value) == (
            f"{tmp_path}: what is read ahead cannot be kept: No space left on device; "
            "--num_processes=1 keeps nothing"
        )
        with pytest.raises(FileNotFoundError, match=r"'/some/file'"):
            read(readers, 1, Tally())


def test_leaving_early_leaves_nothing(tmp_path):
    units = units_of(*[([200] * 30, None)] * 6)
    with Readers(units, 3, tmp_path) as readers:
        next(readers.blocks(0, Tally()))
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


def test_far_ahead(tmp_path):
    """More words than a pipe holds, while nobody listens."""
    units = units_of(([1], None), ([1] * 5000, None))
    with Readers(units, 2, tmp_path) as readers:
        read(readers, 0, Tally())
        assert len(read(readers, 1, Tally())) == 5000
