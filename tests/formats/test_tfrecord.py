import gzip
import io
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.formats.tfrecord import parse_example, read_records

FIXTURES = Path(__file__).parents[1] / "fixtures"


def masked(data):
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def framed(*payloads):
    parts = []
    for payload in payloads:
        length = struct.pack("<Q", len(payload))
        parts += [length, struct.pack("<I", masked(length))]
        parts += [payload, struct.pack("<I", masked(payload))]
    return b"".join(parts)


def read(data):
    return list(read_records(io.BytesIO(data)))


def test_the_checksum_is_crc32c():
    assert google_crc32c.value(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4's polynomial


def test_a_file_that_tensorflow_wrote():
    folder = FIXTURES / "rlds/rlu_atari_checkpoints_ordered/Breakout_run_1/1.1.0"
    data = (
        folder / "rlu_atari_checkpoints_ordered-checkpoint_00.tfrecord-00000-of-00002"
    ).read_bytes()
    records = read(data)
    assert [(r.number, r.problem, r.is_last) for r in records] == [(0, "", False), (1, "", False)]
    features = parse_example(records[0].payload)
    assert features["steps/action"].shape == (207,)
    assert features["steps/reward"].dtype == np.float32
    assert features["steps/observation"][0].startswith(b"\x89PNG")


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_what_is_framed_is_read(payloads):
    records = read(framed(*payloads))
    assert [(r.number, r.payload, r.problem) for r in records] == [
        (number, payload, "") for number, payload in enumerate(payloads)
    ]


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=4), st.data())
def test_any_flipped_byte_is_detected(payloads, data):
    good = framed(*payloads)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    ends = np.cumsum([len(p) + 16 for p in payloads])
    hit = int(np.searchsorted(ends, at, side="right"))
    records = read(bytes(bad))
    assert [r.payload for r in records[:hit]] == payloads[:hit]
    assert records[hit].problem
    in_header = at - (ends[hit] - len(payloads[hit]) - 16) < 12
    assert records[hit].is_last == in_header
    if not in_header:  # the framing is valid, so the other records are complete
        assert [r.payload for r in records[hit + 1 :]] == payloads[hit + 1 :]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.data())
def test_any_early_end_is_detected(payloads, data):
    good = framed(*payloads)
    stop = data.draw(st.integers(0, len(good) - 1))
    ends = [0, *np.cumsum([len(p) + 16 for p in payloads]).tolist()]
    records = read(good[:stop])
    whole = sum(end <= stop for end in ends) - 1
    assert [r.payload for r in records[:whole]] == payloads[:whole]
    if stop in ends:
        assert len(records) == whole  # a file that ends between two records looks complete
    else:
        assert [(r.number, r.is_last) for r in records[whole:]] == [(whole, True)]
        assert records[-1].problem.startswith("the file ends in it")


def test_a_broken_gzip_stream_is_a_problem_of_its_record():
    data = gzip.compress(framed(b"a" * 50, bytes(range(256)) * 40))
    with gzip.open(io.BytesIO(data[:-20])) as stream:
        records = list(read_records(stream))
    assert records[-1].problem.startswith("the compressed stream is broken (")
    assert records[-1].is_last
    with gzip.open(io.BytesIO(b"plain")) as stream:
        (record,) = read_records(stream)
    assert (record.number, record.is_last) == (0, True)


def test_an_absurd_length_takes_no_memory():
    length = struct.pack("<Q", 2**62)
    (record,) = read(length + struct.pack("<I", masked(length)) + b"x")
    assert record.problem == "the checksum of its length is wrong (not a TFRecord file?)"


def test_an_example_by_hand():
    # field 1 (features) { field 1 (entry) { key "a", value { int64_list { value: 3, -1 packed } } }
    #                      field 1 { key "b", value { float_list { 0.5 packed } } }
    #                      field 1 { key "c", value { bytes_list { "x", "" } } } }
    integers = bytes.fromhex("0a0161 120f 1a0d 0a0b 03 ffffffffffffffffff01".replace(" ", ""))
    floats = bytes.fromhex("0a0162 1208 1206 0a04 0000003f".replace(" ", ""))
    strings = bytes.fromhex("0a0163 1207 0a05 0a0178 0a00".replace(" ", ""))
    features = b"".join(b"\x0a" + bytes([len(e)]) + e for e in (integers, floats, strings))
    found = parse_example(b"\x0a" + bytes([len(features)]) + features)
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_array_equal(found["a"], np.array([3, -1]), strict=True)
    np.testing.assert_array_equal(found["b"], np.array([0.5], np.float32), strict=True)
    assert found["c"] == [b"x", b""]


@pytest.mark.parametrize("payload", [b"\x0a\xff", b"\xff\xff\xff", b"\x0a\x03abc"])
def test_what_is_no_example(payload):
    with pytest.raises(ValueError, match=r"^is no tf.train.Example \("):
        parse_example(payload)
