"""Valid and broken ArrayRecord files, written by the library that TFDS uses."""

import sys

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from pvn.errors import UserError
from pvn.formats.array_record import read_array_records


@pytest.fixture
def payloads():
    random = np.random.default_rng(0)
    return [random.bytes(1000 * (number + 1)) for number in range(5)]


@pytest.fixture
def file(tmp_path, payloads):
    path = tmp_path / "x.array_record-00000-of-00001"
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for payload in payloads:
        writer.write(payload)
    writer.close()
    return path


def test_records_in_order(file, payloads):
    found = list(read_array_records(file))
    assert [record.number for record, _ in found] == [0, 1, 2, 3, 4]
    assert [record.payload for record, _ in found] == payloads
    assert not any(record.problem or record.is_last for record, _ in found)
    progress = [position for _, position in found]
    assert progress == sorted(progress)
    assert progress[-1] == file.stat().st_size


def test_records_after_a_broken_record_are_read(file, payloads):
    data = bytearray(file.read_bytes())
    data[data.index(payloads[1]) + 500] ^= 1
    file.write_bytes(data)
    found = [record for record, _ in read_array_records(file)]
    assert [record.payload for record in found] == [payloads[0], b"", *payloads[2:]]
    assert "hash mismatch" in found[1].problem
    assert "\n" not in found[1].problem
    assert not found[1].is_last


@pytest.mark.parametrize("content", [b"", b"PK something else" * 100, None])
def test_a_file_that_is_cut_off_or_foreign(file, content):
    file.write_bytes(file.read_bytes()[:70_000] if content is None else content)
    ((record, _),) = read_array_records(file)
    assert record.problem == "the file is cut off, or no ArrayRecord file"
    assert record.is_last


def test_without_the_package(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(UserError, match=r"needs the package array_record .*; install it, or"):
        next(read_array_records(file))
