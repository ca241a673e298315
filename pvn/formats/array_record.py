"""Reads ArrayRecord files, the other format that TFDS prepares datasets in."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pvn.errors import UserError
from pvn.formats.tfrecord import Record

# One record is in memory at a time.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


def read_array_records(file: Path) -> Iterator[tuple[Record, int]]:
    """(record, about how many bytes of the file are read) of each record, in order.

    Raises:
      UserError: the package array_record is not installed; some platforms have none.
    """
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise UserError(
            f"{file}: ArrayRecord needs the package array_record ({error}); install it, or prepare "
            "the dataset with file_format=tfrecord"
        ) from None
    reader = ArrayRecordReader(str(file), _OPTIONS)
    try:
        if not reader.ok():
            yield Record(0, b"", "the file is cut off, or no ArrayRecord file", is_last=True), 0
            return
        count, size = reader.num_records(), file.stat().st_size
        for number in range(count):
            try:
                (payload,) = reader.read([number])
                record = Record(number, payload)
            except RuntimeError as error:
                record = Record(number, b"", str(error).splitlines()[0])
            yield record, size * (number + 1) // count
    finally:
        with contextlib.suppress(RuntimeError):  # raises the file's error once more
            reader.close()
