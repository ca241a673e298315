"""RLDS files, prepared and raw: random episodes, broken records and missing files."""

import gzip
import io
import json
import shutil
import struct

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pvn.data.layout import Rows
from pvn.errors import UserError
from pvn.formats.findings import Findings
from pvn.formats.inputs import CorruptError, Selection
from pvn.formats.rlds import Options, find_files

NAME = "rlu_atari_checkpoints_ordered"


def varint(value):
    parts = []
    value %= 2**64
    while value > 127:
        parts.append(value % 128 + 128)
        value //= 128
    return bytes([*parts, value])


def field(number, payload):
    return varint(number * 8 + 2) + varint(len(payload)) + payload


def example(features):
    """The bytes of a tf.train.Example."""
    entries = []
    for name, values in features.items():
        if isinstance(values, list):
            kind, body = 1, b"".join(field(1, value) for value in values)
        elif values.dtype == np.float32:
            kind, body = 2, field(1, values.tobytes())
        else:
            kind, body = 3, field(1, b"".join(varint(int(value)) for value in values))
        entries.append(field(1, field(1, name.encode()) + field(2, field(kind, body))))
    return field(1, b"".join(entries))


def record(payload):
    def masked(data):
        crc = google_crc32c.value(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def png(frame):
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "png")
    return stream.getvalue()


def episode_of(seed, length, ended):
    random = np.random.default_rng(seed)
    frames = np.zeros((length, 84, 84), np.uint8)
    frames[:, :5, :4] = random.integers(0, 256, (length, 5, 4))
    reward = random.integers(-1, 2, length).astype(np.float32)
    if ended:
        reward[-1] = 0
    return frames, random.integers(0, 6, length), reward, ended


def payload_of(episode, raw):
    frames, action, reward, ended = episode
    images, last = [png(frame) for frame in frames], np.arange(len(frames)) == len(frames) - 1
    if raw:
        return example(
            {
                "observations": images,
                "actions": action,
                "unclipped_rewards": reward,
                "clipped_rewards": reward,
                "discounts": np.where(last & ended, 0, 1).astype(np.float32),
                "episode_idx": np.array([3]),
            }
        )
    return example(
        {
            "steps/observation": images,
            "steps/action": action,
            "steps/reward": reward,
            "steps/is_terminal": (last & ended).astype(np.int64),
            "steps/is_last": last.astype(np.int64),
        }
    )


def write(folder, files, raw):
    """Writes files of records, one for each checkpoint. Returns their paths."""
    if raw:
        target = folder / "Pong"
        target.mkdir(parents=True)
        paths = [target / f"run_1-{number:05d}-of-00050" for number in range(len(files))]
    else:
        target = folder / NAME / "Pong_run_1" / "1.1.0"
        target.mkdir(parents=True)
        paths = [
            target / f"{NAME}-checkpoint_{number:02d}.tfrecord-00000-of-00001"
            for number in range(len(files))
        ]
        splits = [
            {"name": f"checkpoint_{number:02d}", "shardLengths": [str(len(records))]}
            for number, records in enumerate(files)
        ]
        (target / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    for path, records in zip(paths, files, strict=True):
        data = b"".join(records)
        path.write_bytes(gzip.compress(data) if raw else data)
    return paths


def inputs(folder, raw, checkpoints=(), **options):
    selection = Selection(folder, "Pong", [1], None, list(checkpoints))
    return find_files(selection, Options(raw=raw, **options))


def read(folder, raw, **changes):
    """Rows of every episode, and the findings."""
    findings, found = Findings(), []
    for file in inputs(folder, raw, **changes).files:
        for episode in file.read(findings):
            blocks = [block.rows() for block in episode.blocks(len(found), findings)]
            found.append(
                Rows(*map(np.concatenate, zip(*(block[:-1] for block in blocks), strict=True)))
            )
    return found, findings


plans = st.lists(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(plans, st.booleans(), st.sampled_from(["frame", "step"]))
def test_random_episodes(tmp_path_factory, plan, raw, last_row):
    folder = tmp_path_factory.mktemp("rlds")
    files = [
        [episode_of(100 * n + m, *each) for m, each in enumerate(file)]
        for n, file in enumerate(plan)
    ]
    write(folder, [[record(payload_of(e, raw)) for e in file] for file in files], raw)
    found, findings = read(folder, raw, last_row=last_row)
    expected = []
    for frames, action, reward, ended in (episode for file in files for episode in file):
        count = len(frames) - (ended and last_row == "frame")
        if count:
            expected.append((frames[:count], action[:count], reward[:count], ended))
    assert len(found) == len(expected)
    for rows, (frames, action, reward, ended) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(rows.frame, frames)
        np.testing.assert_array_equal(rows.action, action)
        np.testing.assert_array_equal(rows.reward, reward)
        last = np.arange(len(frames)) == len(frames) - 1
        np.testing.assert_array_equal(rows.terminal, last & ended)
        np.testing.assert_array_equal(rows.truncated, last & (not ended))
        assert not rows.cut_start.any()
    assert findings.counts.get("step_like_last_rows", 0) == 0


def test_a_last_row_that_looks_like_a_step_is_counted(tmp_path, monkeypatch):
    frames, action, reward, _ = episode_of(0, 5, True)
    reward[-1] = 1
    rewarded = record(payload_of((frames, action, reward, True), True))
    # An episode that the time limit ends has one row for each step, and one for the last frame.
    monkeypatch.setattr("pvn.formats.rlds.TIME_LIMIT", 7)
    lengths = [record(payload_of(episode_of(0, length, True), True)) for length in (6, 7, 8)]
    write(tmp_path, [[rewarded] * 2, lengths], True)
    _, findings = read(tmp_path, True)
    assert findings.counts == {"ended_games": 5, "step_like_last_rows": 3}


def test_many_frames_are_decoded_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("pvn.formats.rlds._DECODED", 3)
    monkeypatch.setattr("pvn.formats.rlds._AHEAD", 10)
    episodes = [episode_of(seed, 8, False) for seed in range(6)]
    write(tmp_path, [[record(payload_of(e, False)) for e in episodes]], False)
    found, _ = read(tmp_path, False)
    for rows, (frames, *_) in zip(found, episodes, strict=True):
        np.testing.assert_array_equal(rows.frame, frames)


# Broken records. A file has three episodes; the second episode of the first file is broken.


def plain(*, images=2, action=None, ended=None):
    """A prepared episode of two rows with something changed."""
    return record(
        example(
            {
                "steps/observation": images
                if isinstance(images, list)
                else [png(np.zeros((84, 84), np.uint8))] * images,
                "steps/action": np.zeros(2, int) if action is None else action,
                "steps/reward": np.zeros(2 if isinstance(images, list) else images, np.float32),
                "steps/is_terminal": np.zeros(2, int) if ended is None else ended,
            }
        )
    )


BROKEN = {
    "has the action 4294967297": lambda good: plain(action=np.array([0, 2**32 + 1])),
    "has the action -1": lambda good: plain(action=np.array([0, -1])),
    "has float32 actions and float32 rewards": lambda good: plain(action=np.zeros(2, np.float32)),
    "goes on after the game has ended": lambda good: plain(ended=np.array([1, 0])),
    "has 2 frames, 2 actions, 2 rewards and 1 ends": lambda good: plain(ended=np.array([1])),
    "a frame is uint16 [84, 84], expected uint8 [84, 84]": lambda good: plain(
        images=[png(np.full((84, 84), 300, np.uint16))] * 2
    ),
    "its checksum is wrong": lambda good: good[:-1] + bytes([good[-1] ^ 1]),
    "is no tf.train.Example": lambda good: record(b"\x0a\xff"),
    "has no images 'steps/observation' (another dataset?)": lambda good: record(
        example({"steps/action": np.zeros(3, int), "steps/is_terminal": np.zeros(3, int)})
    ),
    "has 4 frames, 3 actions, 4 rewards and 4 ends": lambda good: record(
        payload_of(
            (np.zeros((4, 84, 84), np.uint8), np.zeros(3, int), np.zeros(4, np.float32), 0), 0
        )
    ),
    "a frame is uint8 [64, 84], expected uint8 [84, 84]": lambda good: record(
        payload_of(
            (np.zeros((4, 64, 84), np.uint8), np.zeros(4, int), np.zeros(4, np.float32), 0), 0
        )
    ),
    "a frame is no PNG": lambda good: plain(images=[b"JPEG", b"JPEG"]),
    "an episode has more than 65,536 rows": lambda good: plain(
        images=65_537, action=np.zeros(65_537, int), ended=np.zeros(65_537, int)
    ),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_record_is_named_and_can_be_left_out(tmp_path, problem):
    good = [record(payload_of(episode_of(seed, 4, False), False)) for seed in range(4)]
    broken = [good[0], BROKEN[problem](good[1]), good[2]]
    file, _ = write(tmp_path, [broken, [good[3]]], False)
    with pytest.raises(CorruptError) as caught:
        read(tmp_path, False)
    assert str(caught.value).startswith(f"{file}: record 1: {problem}")
    assert "\n" not in str(caught.value)
    found, findings = read(tmp_path, False, skip_corrupt=True)
    expected = [episode_of(seed, 4, False)[0] for seed in (0, 2, 3)]
    np.testing.assert_array_equal([rows.frame for rows in found], expected)
    assert findings.counts == {"skipped_episodes": 1}
    assert len(findings.left_out) == 1


@pytest.mark.parametrize("cut", ["in a record", "between records"])
def test_a_file_that_is_cut_off(tmp_path, cut):
    good = [record(payload_of(episode_of(seed, 4, False), False)) for seed in range(3)]
    (file,) = write(tmp_path, [good], False)
    data = b"".join(good)
    file.write_bytes(data[:-5] if cut == "in a record" else data[: len(good[0])])
    number = 2 if cut == "in a record" else 1
    with pytest.raises(CorruptError, match=rf"record {number}: (the file ends in it|is missing)"):
        read(tmp_path, False)
    found, findings = read(tmp_path, False, skip_corrupt=True)
    assert len(found) == number
    assert findings.counts == {"skipped_episodes": 3 - number}


def test_a_raw_file_that_is_cut_off_or_foreign(tmp_path):
    (file,) = write(
        tmp_path, [[record(payload_of(episode_of(s, 9, True), True)) for s in range(9)]], True
    )
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])
    with pytest.raises(CorruptError, match=r"record \d: the compressed stream is broken"):
        read(tmp_path, True)
    found, findings = read(tmp_path, True, skip_corrupt=True)
    assert 0 < len(found) < 9
    assert findings.counts["skipped_episodes"] == 1
    file.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(
        CorruptError, match=r"run_1-00000-of-00050: record 0: the compressed stream"
    ):
        read(tmp_path, True)


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_a_broken_one(tmp_path, content):
    good = [record(payload_of(episode_of(0, 4, False), True))]
    _, second = write(tmp_path, [good, good], True)
    second.write_bytes(content)
    with pytest.raises(CorruptError, match="record 0: is missing, expected 1 or more"):
        read(tmp_path, True)
    found, findings = read(tmp_path, True, skip_corrupt=True)
    assert (len(found), findings.counts) == (1, {"skipped_episodes": 1})


def test_the_newest_version_is_taken(tmp_path):
    good = [record(payload_of(episode_of(0, 4, False), False))]
    (file,) = write(tmp_path, [good], False)
    for version in ("1.9.0", "1.10.0", "1.11.0.incompleteX3F"):
        shutil.copytree(file.parent, file.parents[1] / version)
    assert len(inputs(tmp_path, False).files) == 1
    file.unlink()
    (file.parents[1] / "1.9.0" / file.name).unlink()
    (found,) = inputs(tmp_path, False).files
    assert len(list(found.read(Findings()))) == 1


def test_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"Pong_run_1: holds no version prepared by TFDS"):
        inputs(tmp_path, False)
    with pytest.raises(UserError, match=r"Pong: no such folder, expected files run_1-00000-of-"):
        inputs(tmp_path, True)
    good = [record(payload_of(episode_of(0, 4, False), False))]
    first, second = write(tmp_path, [good, good], False)

    def found(**changes):
        files, missing = inputs(tmp_path, False, **changes)
        return [file.name.removeprefix(f"run 1 {NAME}-") for file in files], missing

    whole = [f"checkpoint_{number:02d}.tfrecord-00000-of-00001" for number in (0, 1)]
    assert found() == (whole, [])
    assert found(checkpoints=[1]) == (whole[1:], [])
    lacks = f"{first.parent}: has no checkpoint 2, only 0-1; choose with --checkpoints"
    assert found(checkpoints=[0, 2]) == (whole[:1], [lacks])
    # A listed split without any shard.
    second.rename(second.with_name("elsewhere"))
    assert found() == (whole[:1], [f"{second}: is missing"])
    assert found(checkpoints=[0]) == (whole[:1], [])
    second.with_name("elsewhere").rename(second)
    # A split that lacks one of its two shards.
    half = first.rename(first.with_name(first.name.replace("of-00001", "of-00002")))
    other = half.with_name(half.name.replace("00000-of", "00001-of"))
    names = [half.name.removeprefix(f"{NAME}-"), whole[1]]
    assert found() == (names, [f"{other}: is missing"])
    info = first.parent / "dataset_info.json"
    info.write_text('{"splits": [], "fileFormat": "riegeli"}')
    with pytest.raises(UserError, match=r"info.json: its fileFormat is 'riegeli', expected"):
        inputs(tmp_path, False)
    for content in ("{}", "[]", "x"):
        info.write_text(content)
        with pytest.raises(UserError, match=r"dataset_info.json: is not that of a TFDS dataset"):
            inputs(tmp_path, False)


def test_a_raw_file_that_is_missing(tmp_path):
    good = [record(payload_of(episode_of(0, 4, False), True))]
    _, second, _ = write(tmp_path, [good] * 3, True)
    second.unlink()
    files, missing = inputs(tmp_path, True)
    assert [file.name[-14:] for file in files] == ["00000-of-00050", "00002-of-00050"]
    # Every name says that there are 50.
    absent = [1, *range(3, 50)]
    assert missing == [f"{second.parent}/run_1-{n:05d}-of-00050: is missing" for n in absent]
