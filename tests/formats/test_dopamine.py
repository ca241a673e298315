"""Dopamine logs, written by a replay buffer with all its quirks, agree with a record of play."""

import gzip
import io
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data.layout import Rows
from pvn.data.transitions import transition_rows
from pvn.errors import UserError
from pvn.formats.dopamine import find_windows, log_file, read_window, split_episodes
from pvn.formats.dopamine_writer import plan_windows, write_window
from pvn.formats.episode import TIME_LIMIT
from pvn.formats.findings import Findings
from pvn.formats.inputs import CorruptError, Selection
from tests.files import load_npy_gz, save_npy_gz

JUNK = {"action": 2143289344, "reward": np.nan, "terminal": 171}
PAD = (-1, -1)


class Replay:
    """A logging circular buffer like the published one. It also records what is in each slot."""

    def __init__(self, capacity):
        self.capacity, self.added, self.due = capacity, 0, True
        self.columns = {
            "observation": np.full((capacity, 84, 84), 77, np.uint8),
            "action": np.full(capacity, JUNK["action"], np.int32),
            "reward": np.full(capacity, JUNK["reward"], np.float32),
            "terminal": np.full(capacity, JUNK["terminal"], np.uint8),
        }
        self.slots = [None] * capacity  # (episode, step) or PAD
        self.windows = []  # for each saved window: columns, add_count, slots before the cursor

    def _put(self, slot, frame, action, reward, terminal):
        at = self.added % self.capacity
        for name, value in zip(self.columns, (frame, action, reward, terminal), strict=True):
            self.columns[name][at] = value
        self.slots[at] = slot
        self.added += 1

    def add(self, slot, frame, action, reward, terminal, episode_end):
        if self.due:
            for _ in range(3):
                self._put(PAD, 0, 0, 0, 0)
        self._put(slot, frame, action, reward, terminal)
        self.due = terminal or episode_end
        if self.added % self.capacity == self.capacity - 1:
            self.save(self.added)

    def save(self, add_count):
        cursor = add_count % self.capacity
        copies = {name: column.copy() for name, column in self.columns.items()}
        self.windows.append((copies, add_count, self.slots[:cursor]))

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, (columns, add_count, _) in enumerate(self.windows):
            cursor = add_count % self.capacity
            invalid = (cursor - 1 + np.arange(5)) % self.capacity
            extra = {"add_count": np.array(add_count), "invalid_range": invalid}
            for name, array in (columns | extra).items():
                save_npy_gz(log_file(folder, name, number), array)


def frame_of(episode, step):
    frame = np.zeros((84, 84), np.uint8)
    frame[:1, :3] = (episode + 1, step // 200 + 1, step % 200 + 1)
    return frame


@st.composite
def plays(draw):
    """(capacity, episodes), where an episode is (length, how it ends, odd steps)."""
    lengths = st.integers(1, 14)
    ends = st.sampled_from(["terminal", "terminal", "cut"])
    odd = st.sampled_from(["nothing", "black", "noop", "nan", "reward"])
    episodes = draw(st.lists(st.tuples(lengths, ends, odd), min_size=1, max_size=12))
    return draw(st.integers(6, 40)), episodes


def play(capacity, episodes):
    """The buffer after the play, and {(episode, step): (action, reward, terminal)}."""
    replay, done = Replay(capacity), {}
    for episode, (length, end, odd) in enumerate(episodes):
        for step in range(length):
            here = odd if step % 3 == 1 else "nothing"
            last = step == length - 1
            action = 0 if here == "noop" else 1 + (episode + step) % 4
            reward = {"nan": np.nan, "reward": -1.0}.get(here, 0.0)
            frame = frame_of(episode, step)
            if here == "black":
                frame = np.zeros((84, 84), np.uint8)  # not padding: the action is not 0
            terminal = last and end == "terminal"
            replay.add((episode, step), frame, action, reward, terminal, last)
            done[episode, step] = (frame, action, 0.0 if here == "nan" else reward, terminal)
    replay.save(replay.added % capacity)
    return replay, done


def expected_fragments(slots):
    """The fragments of episodes in a window's slots, each with whether its start is known."""
    fragments, known = [], False
    for slot in slots:
        if slot == PAD:
            known = True
            continue
        if not fragments or known or fragments[-1][1][-1] != (slot[0], slot[1] - 1):
            fragments.append((known, []))
        fragments[-1][1].append(slot)
        known = False
    return fragments


@settings(deadline=None, derandomize=True, max_examples=150)
@given(plays())
def test_random_logs_with_every_quirk(tmp_path_factory, case):
    capacity, episodes = case
    replay, done = play(capacity, episodes)
    folder = tmp_path_factory.mktemp("logs") / "replay_logs"
    replay.write(folder)
    for number, (_, _, slots) in enumerate(replay.windows):
        findings = Findings()
        found = list(read_window(folder, number, False, findings))
        fragments = expected_fragments(slots)
        assert len(found) == len(fragments)
        for episode, (known, steps) in zip(found, fragments, strict=True):
            blocks = [block.rows() for block in episode.blocks(7, findings)]
            rows = Rows(*map(np.concatenate, zip(*(block[:-1] for block in blocks), strict=True)))
            frame, action, reward, terminal = zip(*(done[s] for s in steps), strict=True)
            np.testing.assert_array_equal(rows.frame, frame)
            np.testing.assert_array_equal(rows.action, action)
            np.testing.assert_array_equal(rows.reward, np.array(reward, np.float32))
            np.testing.assert_array_equal(rows.terminal, terminal)
            last = np.arange(len(steps)) == len(steps) - 1
            np.testing.assert_array_equal(rows.truncated, last & ~np.array(terminal))
            np.testing.assert_array_equal(rows.cut_start, np.arange(len(steps)) == (not known) - 1)
            assert set(rows.episode) == {7}
        nans = [s for s in slots if s != PAD and episodes[s[0]][2] == "nan" and s[1] % 3 == 1]
        assert findings.counts.get("nan_rewards", 0) == len(nans)


def test_rare_cases_occur():
    """The property test above covers the rare cases."""
    lost = part = whole = 0
    for capacity in range(6, 20):
        replay, _ = play(capacity, [(5, "terminal", "nothing")] * 12)
        lost += len(replay.windows) < replay.added // capacity
        for _, _, slots in replay.windows:
            pads = len(slots) and [s == PAD for s in slots[:3]]
            whole += pads == [True, True, True]
            part += pads in ([True, True, False], [True, False, False])
    assert min(lost, part, whole) > 0


def blocks_of(frames, action, reward, terminal, size):
    for start in range(0, len(frames), size):
        span = slice(start, start + size)
        yield frames[span], action[span], reward[span], terminal[span]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_blocks_do_not_matter(size):
    # Two episodes, each after its padding. The first is truncated, which newer logs do not mark.
    frames = np.zeros((13, 84, 84), np.uint8)
    frames[3:7] = frames[10:13] = 5
    terminal = np.arange(13) == 12
    columns = (frames, np.zeros(13, np.int32), np.zeros(13, np.float32), terminal)
    findings = Findings()
    found = list(split_episodes(blocks_of(*columns, size), findings))
    assert findings.counts == {"cuts_at_padding": 1}
    assert [(e.num_rows, e.terminal, e.cut_start) for e in found] == [
        (4, False, False), (3, True, False)
    ]  # fmt: skip


def test_an_episode_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("pvn.formats.episode.MOST_ROWS", 30)
    columns = (np.ones((40, 84, 84), np.uint8), np.arange(40), np.zeros(40), np.zeros(40, bool))
    with pytest.raises(ValueError, match=r"^an episode has more than 65,536 rows; games"):
        list(split_episodes(blocks_of(*columns, 7), Findings()))


@pytest.mark.parametrize(("length", "is_cut"), [(TIME_LIMIT - 1, False), (TIME_LIMIT, True)])
def test_the_time_limit_is_a_cut(length, is_cut):
    frame = np.ones((1, 84, 84), np.uint8)
    count = length + 3
    frames = np.broadcast_to(frame, (count, 84, 84)).copy()
    frames[:3] = 0
    columns = (frames, np.zeros(count, int), np.zeros(count), np.arange(count) == count - 1)
    findings = Findings()
    (episode,) = split_episodes(blocks_of(*columns, 2048), findings)
    *_, last = episode.blocks(0, findings)
    assert (bool(last.terminal[-1]), bool(last.truncated[-1])) == (not is_cut, is_cut)
    assert findings.counts == ({"time_outs": 1} if is_cut else {})


# Broken files.


@pytest.fixture
def logs(tmp_path):
    """A folder with one window of three episodes, which use 31 of its 40 rows."""
    replay, _ = play(40, [(5, "terminal", "reward"), (8, "terminal", "reward"), (9, "cut", "noop")])
    folder = tmp_path / "Pong" / "1" / "replay_logs"
    replay.write(folder)
    return folder


def read(folder, *, skip_corrupt=False):
    findings = Findings()
    return list(read_window(folder, 0, skip_corrupt, findings)), findings


@pytest.mark.parametrize("name", ["observation", "action", "reward", "terminal", "add_count"])
def test_a_broken_file_is_named(logs, name):
    file = log_file(logs, name, 0)
    good = file.read_bytes()
    for bad in (
        b"",
        b"not gzip at all",
        good[: len(good) // 2],
        good[:-3],
        gzip.compress(b"x" * 99),
    ):
        file.write_bytes(bad)
        with pytest.raises(CorruptError) as caught:
            read(logs)
        assert str(caught.value).startswith(f"{file}: is ")
        assert "\n" not in str(caught.value)
    raw = bytearray(good)
    raw[-6] ^= 1  # gzip's checksum, at the end of the file
    file.write_bytes(raw)
    with pytest.raises(CorruptError, match="is broken"):
        read(logs)


def test_arrays_that_do_not_fit(logs):
    save_npy_gz(log_file(logs, "observation", 0), np.zeros((40, 64, 64), np.uint8))
    with pytest.raises(CorruptError, match=r"holds uint8 \[40, 64, 64\], expected uint8 \[40, 84"):
        read(logs)
    save_npy_gz(log_file(logs, "action", 0), np.zeros(39, np.int32))
    with pytest.raises(CorruptError, match=r"window 0 has \[39\] actions, \[40\] rewards and \[40"):
        read(logs)


def test_fewer_frames_than_the_header_says(logs):
    file = log_file(logs, "observation", 0)
    whole = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(whole[: 128 + 7056 * 10]))  # a valid gzip stream
    with pytest.raises(CorruptError, match="is cut off before its end"):
        read(logs)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("action", np.zeros(40), "holds float64"),
        ("reward", np.zeros(40, np.complex64), "holds complex64"),
        ("terminal", np.zeros(40, np.float32), "holds float32"),
        ("add_count", np.array(np.nan), "holds float64"),
        ("observation", np.asfortranarray(np.ones((40, 84, 84), np.uint8)), "is in Fortran order"),
    ],
)
def test_foreign_arrays(logs, name, array, message):
    save_npy_gz(log_file(logs, name, 0), array)
    with pytest.raises(CorruptError, match=message):
        read(logs)


@pytest.mark.parametrize("action", [-1, 2**31])
def test_impossible_actions(logs, action):
    stored = load_npy_gz(log_file(logs, "action", 0))
    actions = stored.astype(np.int64)
    actions[5] = action
    save_npy_gz(log_file(logs, "action", 0), actions)
    with pytest.raises(CorruptError, match=rf"action_ckpt.0.gz: row 5 holds the action {action}$"):
        read(logs)
    # Rows after the cursor may hold anything.
    actions[5], actions[38] = 1, action
    save_npy_gz(log_file(logs, "action", 0), actions)
    assert [episode.num_rows for episode in read(logs)[0]] == [5, 8, 9]


def test_an_episode_without_end_is_named(logs, monkeypatch):
    monkeypatch.setattr("pvn.formats.episode.MOST_ROWS", 7)
    with pytest.raises(CorruptError, match=r"observation_ckpt.0.gz: an episode has more than"):
        read(logs)


def test_a_disk_that_fails_is_no_corrupt_file(logs):
    """Otherwise, --skip_corrupt would leave the file out permanently."""
    file = log_file(logs, "reward", 0)
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}: Is a directory$") as caught:
        read(logs, skip_corrupt=True)
    assert not isinstance(caught.value, CorruptError)


def test_cut_episodes_that_a_cut_off_file_loses(tmp_path):
    """Without a terminal they cannot be counted exactly; the count is at least one."""
    replay, _ = play(60, [(5, "cut", "nothing")] * 5)
    replay.write(tmp_path)
    file = log_file(tmp_path, "observation", 0)
    stored = gzip.compress(gzip.decompress(file.read_bytes()), 0)
    file.write_bytes(stored[: 128 + 7056 * 28])
    found, findings = read(tmp_path, skip_corrupt=True)
    assert len(found) == 3
    assert findings.counts == {"cuts_at_padding": 3, "skipped_episodes": 1}


@pytest.mark.parametrize("added", [-5, 40, 80, 130])
def test_a_buffer_that_has_wrapped_around_is_no_log(logs, added):
    save_npy_gz(log_file(logs, "add_count", 0), np.array(added))
    with pytest.raises(
        CorruptError, match=f"{added} rows were added to a buffer of 40, expected 39"
    ):
        read(logs)


def test_pickles_are_not_read(logs):
    save_npy_gz(log_file(logs, "action", 0), np.array([{"evil": 1}] * 40, object))
    with pytest.raises(CorruptError, match=r"is broken, or no \.npy in gzip"):
        read(logs)


def test_whole_episodes_before_a_cut_off_are_kept(logs):
    file = log_file(logs, "observation", 0)
    stream = io.BytesIO()
    np.save(stream, load_npy_gz(file))
    # The stream is stored uncompressed, so that a cut leaves a known number of whole rows.
    stored = gzip.compress(stream.getvalue(), 0)  # headers take 5 bytes for each 64 KiB
    file.write_bytes(stored[: 128 + 7056 * 20 + 500])
    with pytest.raises(CorruptError, match="is cut off"):
        read(logs)
    found, findings = read(logs, skip_corrupt=True)
    # Rows 0-2 and 8-10 are padding, 3-7 and 11-18 are episodes, and 20 rows are complete.
    assert [episode.num_rows for episode in found] == [5, 8]
    assert findings.counts == {"skipped_episodes": 1}
    assert findings.left_out == [f"{file}: is cut off before its end"]


def inputs(path, **changes):
    """Returns (names of the windows to convert, messages about missing files)."""
    given = {"game": "Pong", "runs": [1], "split": None, "checkpoints": []} | changes
    found = find_windows(Selection(path, **given), skip_corrupt=False)
    return [file.name for file in found.files], found.missing


def test_what_is_missing(tmp_path, logs):
    assert inputs(tmp_path) == (["run 1 window 0"], [])
    with pytest.raises(UserError, match=r"Pong/2/replay_logs: no such folder, expected Dopamine's"):
        inputs(tmp_path, runs=[1, 2])
    assert inputs(tmp_path, checkpoints=[0, 3, 4]) == (
        ["run 1 window 0"], [f"{logs}: has no checkpoint 3-4, only 0; choose with --checkpoints"]
    )  # fmt: skip
    for file in logs.iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"^.*replay_logs: holds no checkpoints$"):
        inputs(tmp_path)


@pytest.mark.parametrize("name", ["observation", "action", "reward", "terminal", "add_count"])
def test_a_window_that_lacks_a_file_is_missing(tmp_path, logs, name):
    for file in list(logs.iterdir()):  # windows 0, 1 and 2
        for number in (1, 2):
            file.with_name(file.name.replace("ckpt.0", f"ckpt.{number}")).write_bytes(b"")
    log_file(logs, name, 1).unlink()
    line = f"{log_file(logs, name, 1)}: missing from window 1"
    assert inputs(tmp_path) == (["run 1 window 0", "run 1 window 2"], [line])
    assert inputs(tmp_path, checkpoints=[0, 2]) == (["run 1 window 0", "run 1 window 2"], [])


def test_several_missing_files_are_named_in_one_line(tmp_path, logs):
    for name in ("observation", "reward"):
        log_file(logs, name, 0).unlink()
    assert inputs(tmp_path) == (
        [],
        [
            f"{log_file(logs, 'observation', 0)}, {log_file(logs, 'reward', 0).name}: "
            "missing from window 0"
        ],
    )


# Writing logs.


def rows_of(episodes):
    """Rows of (length, end, cut_start) episodes."""
    lengths = [length for length, _, _ in episodes]
    total = sum(lengths)
    last = np.cumsum(lengths) - 1
    ends = np.array([end for _, end, _ in episodes])
    terminal, truncated, cut_start = np.zeros((3, total), bool)
    terminal[last], truncated[last] = ends == "terminal", ends == "cut"
    cut_start[last + 1 - lengths] = [cut for _, _, cut in episodes]
    number = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    step = np.arange(total) - (last + 1 - lengths)[number]
    return Rows(
        frame=np.stack([frame_of(e, s) for e, s in zip(number, step, strict=True)]),
        action=np.arange(total, dtype=np.int32) % 5 + 1,
        reward=np.arange(total, dtype=np.float32) % 3 - 1,
        terminal=terminal,
        truncated=truncated,
        cut_start=cut_start,
        episode=number,
    )


def accepted(columns, cursor, capacity):
    """Rows that Dopamine's reader treats as transitions (circular_replay_buffer, not full)."""
    found = []
    for row in range(3, cursor - 1):
        if not columns["terminal"][row - 3 : row].any():
            found.append(row)
    return found


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from(["terminal", "cut"]), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    st.integers(12, 60),
)
def test_what_is_written_has_the_same_transitions(tmp_path_factory, episodes, capacity):
    rows = rows_of(episodes)
    folder = tmp_path_factory.mktemp("logs")
    windows = plan_windows(rows, capacity)
    taken, split = [], 0
    for number, window in enumerate(windows):
        write_window(folder, number, window, rows, capacity)
        stored = {
            name: load_npy_gz(log_file(folder, name, number))
            for name in (
                "observation",
                "action",
                "reward",
                "terminal",
                "add_count",
                "invalid_range",
            )
        }
        cursor = int(stored["add_count"])
        assert cursor <= capacity - 1
        assert stored["invalid_range"].tolist() == [(cursor - 1 + i) % capacity for i in range(5)]
        assert not stored["observation"][cursor:].any()
        for row in accepted(stored, cursor, capacity):
            episode, high, low = stored["observation"][row, 0, :3].astype(int)
            number_of = int(np.flatnonzero(rows.episode == episode - 1)[0])
            at = number_of + (high - 1) * 200 + low - 1
            taken.append(at)
            np.testing.assert_array_equal(stored["observation"][row], rows.frame[at])
            assert stored["action"][row] == rows.action[at]
            assert stored["reward"][row] == rows.reward[at]
            assert stored["terminal"][row] == rows.terminal[at]
            if not rows.terminal[at]:
                np.testing.assert_array_equal(stored["observation"][row + 1], rows.frame[at + 1])
            # The stack, with zeros before the start.
            for back in range(4):
                inside = at - back >= number_of
                expected = rows.frame[at - back] if inside else np.zeros((84, 84))
                np.testing.assert_array_equal(stored["observation"][row - back], expected)
        ends = pickle.loads(
            gzip.decompress(log_file(folder, "episode_end_indices", number).read_bytes())
        )
        assert max(ends) in (cursor - 1, cursor - 2)
        episode = int(stored["observation"][max(ends), 0, 0])
        ends_here = (
            window[-1].stop == len(rows.action) or rows.episode[window[-1].stop] != episode - 1
        )
        split += not ends_here or cursor == capacity - 1
    expected = transition_rows(rows).tolist()
    assert taken == [at for at in expected if at in set(taken)]  # in order, without others
    # An episode longer than a window loses the transition where it is split, and the next three,
    # whose stacks are incomplete. An episode that exactly fills a window loses its last one.
    assert len(expected) - len(taken) <= 4 * split
    if not split:
        assert taken == expected
