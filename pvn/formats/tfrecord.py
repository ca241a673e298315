"""TFRecord files of `tf.train.Example`s, without TensorFlow.

A record has four parts, all little-endian: the length as u64, the masked CRC-32C of the length as
u32, the payload, and the masked CRC-32C of the payload as u32. Some files are gzipped as a whole.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_MOST_BYTES = 2**31 - 1  # the largest message that protobuf reads
_LABELS = descriptor_pb2.FieldDescriptorProto


class Record(NamedTuple):
    """One record of a file, or a description of its problem."""

    number: int  # from 0
    payload: bytes  # empty if there is a problem
    problem: str = ""
    is_last: bool = False  # True: the framing is broken, so no later record can be found


def masked_crc(data: bytes) -> int:
    """The CRC-32C of `data` with the mask of TFRecord files."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(stream: BinaryIO | gzip.GzipFile) -> Iterator[Record]:
    """Yields the records of a stream in order, and checks their CRCs."""
    number = 0
    while True:
        try:
            header = _read(stream, 12)
            if not header:
                return
            length, length_crc = struct.unpack("<QI", header.ljust(12, b"\0"))
            if len(header) < 12:
                problem = "the file ends in its header"
            elif masked_crc(header[:8]) != length_crc or length > _MOST_BYTES:
                problem = "the checksum of its length is wrong (not a TFRecord file?)"
            else:
                payload = _read(stream, length + 4)
                problem = "" if len(payload) == length + 4 else "the file ends in it"
        except (EOFError, gzip.BadGzipFile, ValueError, zlib.error) as error:
            problem = f"the compressed stream is broken ({error})"
        if problem:
            yield Record(number, b"", problem, is_last=True)
            return
        (payload_crc,) = struct.unpack("<I", payload[-4:])
        payload = payload[:-4]
        wrong = masked_crc(payload) != payload_crc
        yield Record(number, b"" if wrong else payload, "its checksum is wrong" if wrong else "")
        number += 1


def _read(stream: BinaryIO | gzip.GzipFile, count: int) -> bytes:
    """Reads `count` bytes, or fewer at the end of the file.

    It reads in parts, so that a wrong length does not allocate memory.
    """
    parts = []
    while count and (part := stream.read(min(count, 2**24))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _example_class() -> Any:
    """The message class of `tf.train.Example`: a map from names to lists of three kinds."""
    file = descriptor_pb2.FileDescriptorProto(name="pvn/example.proto", package="pvn")

    def message(name: str, *fields: tuple[str, int, str]) -> None:
        made = file.message_type.add(name=name)
        for number, (field, label, kind) in enumerate(fields, 1):
            one = made.field.add(name=field, number=number, label=label)
            if kind.startswith("TYPE_"):
                one.type = _LABELS.Type.Value(kind)
            else:
                one.type, one.type_name = _LABELS.TYPE_MESSAGE, f".pvn.{kind}"

    one, many = _LABELS.LABEL_OPTIONAL, _LABELS.LABEL_REPEATED
    message("BytesList", ("value", many, "TYPE_BYTES"))
    message("FloatList", ("value", many, "TYPE_FLOAT"))
    message("Int64List", ("value", many, "TYPE_INT64"))
    message(
        "Feature",
        ("bytes_list", one, "BytesList"),
        ("float_list", one, "FloatList"),
        ("int64_list", one, "Int64List"),
    )
    message("Entry", ("key", one, "TYPE_STRING"), ("value", one, "Feature"))  # a map's wire format
    message("Features", ("feature", many, "Entry"))
    message("Example", ("features", one, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("pvn.Example"))


Example = _example_class()


def parse_example(payload: bytes) -> dict[str, np.ndarray | list[bytes]]:
    """The features of an example by name. Each is a list of bytes, float32 [n] or int64 [n].

    Raises:
      ValueError: the payload is not a `tf.train.Example`.
    """
    try:
        example = Example.FromString(payload)
    except DecodeError as error:
        raise ValueError(f"is no tf.train.Example ({error})") from None
    found: dict[str, np.ndarray | list[bytes]] = {}
    for entry in example.features.feature:
        value = entry.value
        if value.HasField("bytes_list"):
            found[entry.key] = list(value.bytes_list.value)
        elif value.HasField("float_list"):
            found[entry.key] = np.array(value.float_list.value, np.float32)
        else:
            found[entry.key] = np.array(value.int64_list.value, np.int64)
    return found
