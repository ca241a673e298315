import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data import layout
from pvn.data.layout import Rows
from pvn.data.store import fingerprint, open_dataset, read_attributes
from pvn.data.writer import DatasetWriter, check_same, delete_dataset
from pvn.errors import UserError
from pvn.types import ObservationSpec
from tests.datasets import read_dataset
from tests.files import contents, flip

GAME = {"game": "Pong", "num_actions": 6, "protocol": {"sticky": 0.25}, "source": {"kind": "test"}}
MADE = GAME | {"ram": True}
FILES = ["frame/c/0/0/0", "ram/c/0/0", *(f"{name}/c/0" for name in layout.COLUMNS)]


def make_rows(count, shape=(84, 84), seed=0):
    """Random rows in episodes of five; frames are random in one corner, so files stay small."""
    rng = np.random.default_rng(seed)
    frame = np.zeros((count, *shape), np.uint8)
    frame[:, :2, :3] = rng.integers(1, 256, (count, 2, 3))
    return Rows(
        frame=frame,
        action=rng.integers(0, 18, count).astype(np.int32),
        reward=rng.normal(size=count).astype(np.float32),
        terminal=np.arange(count) % 5 == 4,
        truncated=rng.random(count) < 0.5,
        cut_start=rng.random(count) < 0.5,
        episode=(np.arange(count) // 5).astype(np.int32),
        ram=rng.integers(0, 256, (count, 128)).astype(np.uint8),
    )


def cut(rows, start, stop):
    return Rows(*(column[start:stop] for column in rows))


def write(path, rows, **attributes):
    writer = DatasetWriter(path, MADE)
    writer.commit(rows, **attributes)
    return writer


def assert_rows_equal(got, expected):
    for name, column in expected._asdict().items():
        np.testing.assert_array_equal(getattr(got, name), column, strict=True, err_msg=name)


@contextlib.contextmanager
def small_files():
    """A folder, and small chunks and files, so that a few rows span several of them."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        patch.setattr(layout, "ATARI", ObservationSpec((2, 3)))
        patch.setattr(layout, "CHUNK_ROWS", 4)
        patch.setattr(layout, "SHARD_ROWS", 8)
        patch.setattr(layout, "COLUMN_ROWS", 16)
        yield Path(folder)


class Killed(Exception):
    pass


class DeadArray:
    """Takes the place of an array; the writer dies when it uses it."""

    shape = (0,)

    def resize(self, **_):
        raise Killed


class BegunArray:
    """An array that records the growth that it begins."""

    def __init__(self, array, begun):
        self._array, self._begun = array, begun

    def resize(self, **shape):
        self._begun.append(self._array.resize(**shape))
        return self._begun[-1]


def die_in_commit(path, rows, before):
    """Commits rows, and dies before writing the array `before`; None: before the attributes."""
    writer, begun = DatasetWriter(path, MADE), []
    with pytest.MonkeyPatch.context() as patch:
        if before is None:
            patch.setattr(DatasetWriter, "_write_attributes", lambda self: DeadArray().resize())
        else:
            writer._arrays = {n: BegunArray(array, begun) for n, array in writer._arrays.items()}
            patch.setitem(writer._arrays, before, DeadArray())
        with pytest.raises(Killed):
            writer.commit(rows)
    for future in begun:  # a process that dies has no write under way any more
        future.result()


# Written data are read back.


def test_frames_on_disk_are_the_frames_in_memory(tmp_path):
    rows = make_rows(150)
    write(tmp_path, rows)
    frames = open_dataset(tmp_path).rows.frame
    assert len(frames) == 150
    at = np.array([[149, 3, 3], [64, 63, 0]])
    np.testing.assert_array_equal(frames[at], rows.frame[at], strict=True)
    np.testing.assert_array_equal(frames[60:70], rows.frame[60:70], strict=True)
    flip(tmp_path / FILES[0], 40)  # in the first chunk
    frames = open_dataset(tmp_path).rows.frame
    np.testing.assert_array_equal(frames[64:], rows.frame[64:])
    with pytest.raises(UserError, match=r"array frame cannot be read: .*frame/c/0/0/0"):
        frames[at]
    # Zarr would read zeros for a file that is deleted meanwhile.
    frames = open_dataset(tmp_path).rows.frame
    (tmp_path / FILES[0]).unlink()
    with pytest.raises(UserError, match=r"array frame cannot be read: .*is missing"):
        frames[64:]


def test_a_dataset_of_version_1_has_no_cut_starts_and_is_not_extended(tmp_path):
    rows = make_rows(20)
    write(tmp_path, rows)
    shutil.rmtree(tmp_path / "cut_start")
    group = json.loads((tmp_path / "zarr.json").read_text())
    group["attributes"]["version"] = 1
    (tmp_path / "zarr.json").write_text(json.dumps(group))
    expected = rows._replace(cut_start=np.zeros(20, bool))
    assert_rows_equal(read_dataset(tmp_path).rows, expected)
    with pytest.raises(UserError, match="is of format version 1, which is read but not extended"):
        DatasetWriter(tmp_path, MADE)


def test_a_file_that_a_killed_write_has_left_does_not_harm(tmp_path):
    """The next write goes into it, and would keep its end."""
    rows = make_rows(20)
    write(tmp_path, Rows(*(column[:10] for column in rows)))
    for name in FILES:
        (tmp_path / f"{name}.__lock").write_bytes(bytes(10**5))
    write(tmp_path, Rows(*(column[10:] for column in rows)))
    assert_rows_equal(read_dataset(tmp_path).rows, rows)


def test_unfinished_files_of_others_are_left(tmp_path):
    """Such as those of a dataset in a folder below."""
    others = [tmp_path / "notes.__lock", tmp_path / "pong" / "frame" / "c" / "0" / "0" / "0.__lock"]
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.touch()
    write(tmp_path, make_rows(5))
    assert all(other.exists() for other in others)


def test_a_dataset_without_ram(tmp_path):
    rows = make_rows(150)._replace(ram=None)
    DatasetWriter(tmp_path, GAME).commit(rows)
    assert not (tmp_path / "ram").exists()
    assert "ram" not in read_attributes(tmp_path)
    found = read_dataset(tmp_path).rows
    assert found.ram is None
    assert_rows_equal(found._replace(ram=np.array(0)), rows._replace(ram=np.array(0)))


def test_ram_on_disk_is_the_ram_in_memory(tmp_path):
    rows = make_rows(150)
    write(tmp_path, rows)
    ram = open_dataset(tmp_path).rows.ram
    at = np.array([[149, 3], [64, 0]])
    np.testing.assert_array_equal(ram[at], rows.ram[at], strict=True)
    np.testing.assert_array_equal(ram[60:70], rows.ram[60:70], strict=True)


def test_round_trip(tmp_path):
    rows = make_rows(150)
    write(tmp_path / "d", rows, note="x")
    dataset = read_dataset(tmp_path / "d")
    assert_rows_equal(dataset.rows, rows)
    assert dataset.path == str(tmp_path / "d")
    assert dataset.attributes == {
        "format": "pvn-dataset", "version": 2, "num_rows": 150, "num_episodes": 30,
        **MADE, "note": "x",
    }  # fmt: skip
    assert read_attributes(tmp_path / "d") == dataset.attributes


def test_zarr_reads_the_same(tmp_path):
    rows = make_rows(150)
    write(tmp_path, rows)
    group = zarr.open_group(tmp_path, mode="r")
    assert dict(group.attrs) == {
        "format": "pvn-dataset", "version": 2, "num_rows": 150, "num_episodes": 30, **MADE
    }  # fmt: skip
    assert {name: str(group[name].dtype) for name in group} == {
        "frame": "uint8", "action": "int32", "reward": "float32",
        "terminal": "bool", "truncated": "bool", "cut_start": "bool", "episode": "int32",
        "ram": "uint8",
    }  # fmt: skip
    assert_rows_equal(Rows(*(group[name][:] for name in Rows._fields)), rows)

    assert (group["frame"].chunks, group["frame"].shards) == ((64, 84, 84), (8192, 84, 84))
    (sharding,) = (codec.to_dict() for codec in group["frame"].metadata.codecs)
    inner = [codec["name"] for codec in sharding["configuration"]["codecs"]]
    assert (sharding["name"], inner) == ("sharding_indexed", ["bytes", "zstd", "crc32c"])
    assert (group["ram"].chunks, group["ram"].shards) == ((1024, 128), (8192, 128))
    (of_ram,) = (codec.to_dict() for codec in group["ram"].metadata.codecs)
    inner = [codec["name"] for codec in of_ram["configuration"]["codecs"]]
    assert inner == ["transpose", "bytes", "zstd", "crc32c"]
    index = [codec["name"] for codec in sharding["configuration"]["index_codecs"]]
    assert index == ["bytes", "crc32c"]
    assert sharding["configuration"]["codecs"][1]["configuration"]["level"] == 3
    for name in layout.COLUMNS:
        assert (group[name].chunks, group[name].shards) == ((65536,), None)
        codecs = [codec.to_dict()["name"] for codec in group[name].metadata.codecs]
        assert codecs == ["bytes", "zstd", "crc32c"]


def test_zarr_writes_what_is_read(tmp_path):
    # Arrays written by the zarr library, with its own choice of codecs.
    rows = make_rows(9)
    group = zarr.open_group(tmp_path, mode="w", zarr_format=3)
    for name in Rows._fields:
        column = getattr(rows, name)
        rows_of_file = layout.rows_of_file(name)
        chunks = (rows_of_file, *column.shape[1:])
        group.create_array(name, data=column, chunks=chunks, config={"write_empty_chunks": True})
    attributes = {"format": "pvn-dataset", "version": 2, "num_rows": 9, "num_episodes": 2}
    group.attrs.update(attributes | MADE)
    assert_rows_equal(read_dataset(tmp_path).rows, rows)


def test_frames_of_several_files():
    with small_files() as folder:
        rows = make_rows(19, (2, 3))
        write(folder, rows)
        assert sorted(p for p in contents(folder) if p.startswith("frame/c")) == [
            "frame/c/0/0/0", "frame/c/1/0/0", "frame/c/2/0/0"
        ]  # fmt: skip
        assert {"action/c/0", "action/c/1"} <= contents(folder).keys()
        assert_rows_equal(read_dataset(folder).rows, rows)
        frame = zarr.open_group(folder, mode="r")["frame"][:]
        np.testing.assert_array_equal(frame, rows.frame, strict=True)


def test_rows_of_zeros_are_not_missing(tmp_path):
    rows = Rows(*(np.zeros_like(column) for column in make_rows(70)))
    write(tmp_path, rows)
    assert set(FILES) <= contents(tmp_path).keys()
    assert_rows_equal(read_dataset(tmp_path).rows, rows)


def test_counts():
    with small_files() as folder:
        rows = make_rows(13, (2, 3))
        writer = DatasetWriter(folder, MADE)
        counts = [(writer.num_rows, writer.attributes["num_episodes"])]
        for start, stop in [(0, 5), (5, 6), (6, 13)]:
            writer.commit(cut(rows, start, stop))
            stored = read_attributes(folder)
            assert stored == writer.attributes
            counts.append((writer.num_rows, stored["num_episodes"]))
        assert counts == [(0, 0), (5, 1), (6, 2), (13, 3)]


def test_one_writer_at_a_time(tmp_path):
    rows = make_rows(5)
    writer = DatasetWriter(tmp_path, MADE)
    writer.append(rows)
    for other in (lambda: DatasetWriter(tmp_path, MADE), lambda: delete_dataset(tmp_path)):
        with pytest.raises(UserError) as caught:
            other()
        assert str(caught.value) == (
            f"dataset {tmp_path}: another command is writing it; wait for its end, or name another "
            "--dataset"
        )
    writer.publish()
    del writer
    assert_rows_equal(read_dataset(tmp_path).rows, rows)
    DatasetWriter(tmp_path, MADE)
    delete_dataset(tmp_path)


def test_a_dataset_that_was_made_otherwise_is_refused_before_it_is_changed(tmp_path):
    rows = make_rows(8)
    write(tmp_path, cut(rows, 0, 5)).append(cut(rows, 5, 8))  # and dies
    before = contents(tmp_path)
    with pytest.raises(UserError) as caught:
        DatasetWriter(tmp_path, MADE, lambda old: check_same(tmp_path, old, {"game": "Qbert"}))
    assert str(caught.value) == (
        f"dataset {tmp_path}: was made with another game (Pong, now Qbert); name another --dataset "
        "or pass --overwrite"
    )
    assert contents(tmp_path) == before
    DatasetWriter(tmp_path, MADE, lambda old: check_same(tmp_path, old, MADE))
    assert contents(tmp_path) != before


def test_attributes_of_a_dataset_that_is_there_win(tmp_path):
    write(tmp_path, make_rows(3))
    assert DatasetWriter(tmp_path, {"game": "Breakout"}).attributes["game"] == "Pong"


def test_fingerprint_against_hashlib(tmp_path):
    write(tmp_path, make_rows(70))
    digest = hashlib.sha256()
    for name, raw in sorted((k.encode(), v) for k, v in contents(tmp_path).items()):
        digest.update(name + b"\0" + hashlib.sha256(raw).digest())
    assert (
        read_dataset(tmp_path).compute_fingerprint() == fingerprint(tmp_path) == digest.hexdigest()
    )


# The same rows have the same bytes, after any sequence of writes.


@settings(deadline=None, derandomize=True, max_examples=12)
@given(st.data())
def test_same_bytes_after_any_sequence_of_writes(data):
    rows, junk = make_rows(21, (2, 3)), make_rows(21, (2, 3), seed=9)
    with small_files() as folder:
        write(folder / "whole", rows)
        path = folder / "parts"
        writer = DatasetWriter(path, MADE)
        done = 0
        while done < 21:
            assert writer.num_rows == done
            event = data.draw(st.sampled_from(["commit", "reopen", "death"]))
            if event == "commit":
                stop = data.draw(st.integers(done + 1, 21))
                writer.commit(cut(rows, done, stop))
                done = stop
                continue
            del writer
            if event == "death":
                stop = data.draw(st.integers(done + 1, 21))
                before = data.draw(st.sampled_from([*Rows._fields, None]))
                die_in_commit(path, cut(junk, done, stop), before)
            writer = DatasetWriter(path, MADE)
        assert contents(path) == contents(folder / "whole")


@pytest.mark.parametrize("splits", [[], [1, 63, 64, 65, 128], [70]])
def test_same_bytes_at_full_size(tmp_path, splits):
    rows = make_rows(150)
    write(tmp_path / "whole", rows)
    for start, stop in zip([0, *splits], [*splits, 150], strict=True):
        DatasetWriter(tmp_path / "parts", MADE).commit(cut(rows, start, stop))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.parametrize("before", [*Rows._fields, None])
def test_rows_that_were_not_committed_are_not_read(before):
    rows, junk = make_rows(21, (2, 3)), make_rows(21, (2, 3), seed=9)
    with small_files() as folder:
        write(folder, cut(rows, 0, 6))
        attributes = read_attributes(folder)
        die_in_commit(folder, cut(junk, 6, 21), before)
        dataset = read_dataset(folder)
        assert dataset.attributes == attributes
        assert_rows_equal(dataset.rows, cut(rows, 0, 6))


def test_a_writer_that_died_at_once_left_an_empty_dataset():
    with small_files() as folder:
        die_in_commit(folder, make_rows(5, (2, 3)), "frame")
        assert read_attributes(folder)["num_rows"] == 0


def test_rewind_removes_rows_until_others_are_written():
    rows, junk = make_rows(21, (2, 3)), make_rows(21, (2, 3), seed=9)
    with small_files() as folder:
        write(folder / "whole", rows)
        path = folder / "again"
        writer = write(path, cut(rows, 0, 10))
        writer.commit(cut(junk, 10, 18))
        writer.rewind(10, 2)
        assert (writer.num_rows, read_attributes(path)["num_episodes"]) == (10, 2)
        assert_rows_equal(read_dataset(path).rows, cut(rows, 0, 10))
        writer.commit(cut(rows, 10, 21))
        assert contents(path) == contents(folder / "whole")


# Damage is noticed.


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "sound"
    write(path, make_rows(70))
    return path, read_dataset(path)


@settings(deadline=None, derandomize=True, max_examples=250)
@given(st.data())
def test_a_flipped_bit_is_an_error_that_names_the_array(sound, data):
    path, dataset = sound
    file = path / data.draw(st.sampled_from(FILES))
    raw = file.read_bytes()
    position = data.draw(st.integers(0, len(raw) - 1))
    damaged = bytearray(raw)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(damaged)
    try:
        assert_rows_equal(read_dataset(path).rows, dataset.rows)
    except UserError as error:
        name = file.relative_to(path).parts[0]
        assert str(error).startswith(f"dataset {path}: array {name} cannot be read: ")
        assert "\n" not in str(error)
    finally:
        file.write_bytes(raw)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_the_middle_never_goes_unnoticed(sound, name):
    path, _ = sound
    raw = (path / name).read_bytes()
    flip(path / name, len(raw) // 3)
    try:
        with pytest.raises(UserError, match=str(path / name)):
            read_dataset(path)
    finally:
        (path / name).write_bytes(raw)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_file_cut_short_is_an_error_that_names_it(sound, name, kept):
    path, _ = sound
    raw = (path / name).read_bytes()
    (path / name).write_bytes(raw[: int(kept * len(raw))])
    try:
        with pytest.raises(UserError, match=str(path / name)):
            read_dataset(path)
    finally:
        (path / name).write_bytes(raw)


@pytest.mark.parametrize(
    "name",
    [f"frame/c/{i}/0/0" for i in range(3)]
    + [f"ram/c/{i}/0" for i in range(3)]
    + [f"{n}/c/{i}" for n in layout.COLUMNS for i in (0, 1)],
)
def test_a_missing_file_is_named(name):
    with small_files() as folder:
        write(folder, make_rows(21, (2, 3)))
        (folder / name).unlink()
        with pytest.raises(UserError) as caught:
            read_dataset(folder)
        assert str(caught.value) == f"dataset {folder}: file {name} is missing"


def test_a_missing_array_is_named(tmp_path):
    write(tmp_path, make_rows(3))
    shutil.rmtree(tmp_path / "reward")
    with pytest.raises(UserError, match=r"array reward cannot be read: .*reward/zarr\.json"):
        read_dataset(tmp_path)


def test_an_array_with_too_few_rows(tmp_path):
    write(tmp_path, make_rows(3))
    file = tmp_path / "zarr.json"
    file.write_text(file.read_text().replace('"num_rows": 3', '"num_rows": 4'))
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == f"dataset {tmp_path}: array frame has 3 rows, zarr.json says 4"


@pytest.mark.parametrize("key", ["num_rows", "game", "num_actions", "protocol", "source"])
def test_a_missing_attribute_is_named(tmp_path, key):
    write(tmp_path, make_rows(3))
    file = tmp_path / "zarr.json"
    file.write_text(file.read_text().replace(f'"{key}"', '"other"'))
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == f"dataset {tmp_path}: zarr.json lacks the attribute {key!r}"


# Folders that hold no dataset.

COLLECT = "make one with python -m pvn.collect"


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for name, text in [
        ("gone", f"does not exist; {COLLECT}"),
        ("empty", f"holds none (no zarr.json); {COLLECT}"),
        ("other", f"holds none (no zarr.json); {COLLECT}"),
    ]:
        for function in (read_attributes, read_dataset, delete_dataset):
            with pytest.raises(UserError) as caught:
                function(tmp_path / name)
            assert str(caught.value) == f"dataset {tmp_path / name}: {text}"


FOREIGN = [
    ("not JSON", "zarr.json is not that of a pvn-dataset (JSONDecodeError("),
    ("[]", "zarr.json is not that of a pvn-dataset (TypeError("),
    ("{}", "zarr.json is not that of a pvn-dataset (KeyError('attributes')); " + COLLECT),
    ('{"attributes": {}}', "zarr.json is not that of a pvn-dataset (KeyError('format'));"),
    (
        '{"attributes": {"format": "pvn-dataset"}}',
        "zarr.json is not that of a pvn-dataset (KeyError('version'));",
    ),
    (
        '{"attributes": {"format": "ome", "version": 1}}',
        "its format is 'ome', expected 'pvn-dataset'",
    ),
    (
        '{"attributes": {"format": "pvn-dataset", "version": 3}}',
        "format version 3 is newer than 2, the newest this pvn reads; upgrade pvn",
    ),
]


@pytest.mark.parametrize(("source", "text"), FOREIGN)
def test_a_foreign_folder_is_refused_and_left_alone(tmp_path, source, text):
    (tmp_path / "zarr.json").write_text(source)
    (tmp_path / "frame").mkdir()
    (tmp_path / "frame" / "mine").write_text("mine")
    before = contents(tmp_path)
    for function in (
        read_attributes,
        read_dataset,
        delete_dataset,
        lambda path: DatasetWriter(path, MADE),
    ):
        with pytest.raises(UserError) as caught:
            function(tmp_path)
        assert str(caught.value).startswith(f"dataset {tmp_path}: {text}")
        assert "\n" not in str(caught.value)
        assert contents(tmp_path) == before


def test_no_rows(tmp_path):
    DatasetWriter(tmp_path, MADE)
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path)
    assert str(caught.value) == (
        f"dataset {tmp_path}: holds no rows; collect some with python -m pvn.collect"
    )


def test_delete(tmp_path):
    write(tmp_path / "d", make_rows(3))
    write(tmp_path / "e", make_rows(3))
    before = contents(tmp_path / "e")
    delete_dataset(tmp_path / "d")
    assert not (tmp_path / "d").exists() or contents(tmp_path / "d") == {}
    assert contents(tmp_path / "e") == before
    write(tmp_path / "d", make_rows(3))
    assert contents(tmp_path / "d") == before


# What must survive or be refused: foreign files, dead writers, wrong paths and metadata.


def test_writer_leaves_what_is_not_its_own(tmp_path):
    (tmp_path / "frame").mkdir()
    (tmp_path / "frame" / "holiday.txt").write_text("mine")
    with contextlib.suppress(UserError):
        DatasetWriter(tmp_path, MADE)
    assert (tmp_path / "frame" / "holiday.txt").read_text() == "mine"


def test_same_bytes_after_a_longer_commit_that_died():
    rows, junk = make_rows(21, (2, 3)), make_rows(21, (2, 3), seed=9)
    with small_files() as folder:
        write(folder / "whole", cut(rows, 0, 10))
        write(folder / "again", cut(rows, 0, 6))
        die_in_commit(folder / "again", cut(junk, 6, 12), None)
        DatasetWriter(folder / "again", MADE).commit(cut(rows, 6, 10))
        assert_rows_equal(read_dataset(folder / "again").rows, cut(rows, 0, 10))
        assert contents(folder / "again") == contents(folder / "whole")


def test_a_path_that_is_empty():
    for path in ("", " "):
        with pytest.raises(UserError, match=r"^dataset: its path is empty, expected a directory"):
            read_attributes(path)


def test_a_file_in_the_place_of_a_dataset(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError):
        read_attributes(tmp_path / "file")


def test_zarr_json_without_counts(tmp_path):
    attributes = {"format": "pvn-dataset", "version": 1}
    (tmp_path / "zarr.json").write_text(json.dumps({"attributes": attributes}))
    with pytest.raises(UserError):
        read_dataset(tmp_path)


def test_frames_of_another_shape(tmp_path):
    write(tmp_path, make_rows(3))
    file = tmp_path / "frame" / "zarr.json"
    file.write_text(file.read_text().replace('"shape":[3,84,84]', '"shape":[3,85,84]'))
    with pytest.raises(UserError):
        read_dataset(tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 8, 13])
def test_removed_rows_leave_no_trace(kept):
    with small_files() as folder:
        rows, junk = make_rows(kept, (2, 3)), make_rows(40, (2, 3), seed=1)
        for name, more in (("plain", 0), ("discarded", 40), ("rewound", 40)):
            writer = DatasetWriter(folder / name, MADE)
            if kept:
                writer.commit(rows)
            if more:
                writer.append(junk)
                assert (writer.num_rows, writer.num_written) == (kept, kept + 40)
            if name == "discarded":
                writer.discard()
            elif name == "rewound":
                writer.publish()
                writer.rewind(kept, -(-kept // 5))
            assert (writer.num_rows, writer.num_written) == (kept, kept)
            del writer
            assert contents(folder / name) == contents(folder / "plain")
        if kept:
            assert_rows_equal(read_dataset(folder / "discarded").rows, rows)
        more = make_rows(11, (2, 3), seed=2)
        for name in ("plain", "discarded", "rewound"):
            DatasetWriter(folder / name, MADE).commit(more)
            assert contents(folder / name) == contents(folder / "plain")


def test_a_write_that_fails_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    message = f"^dataset {tmp_path}/file/d: {tmp_path}/file is a file, expected a directory$"
    with pytest.raises(UserError, match=message):
        DatasetWriter(tmp_path / "file" / "d", MADE)
    with pytest.raises(UserError, match=r"^dataset /proc/pvn: cannot be written: "):
        DatasetWriter("/proc/pvn", MADE)
