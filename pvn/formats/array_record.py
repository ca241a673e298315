"""Reads ArrayRecord files. TFDS prepares datasets as TFRecord or ArrayRecord."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pvn.errors import UserError
from pvn.formats.tfrecord import Record

# Only one record is in memory at a time.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


def read_array_records(file: Path) -> Iterator[tuple[Record, int]]:
    """Yields (record, approximate number of bytes of the file read so far), in order.

    A broken record, or a broken file, is yielded as a `Record` with a problem.

    Raises:
      UserError: the package array_record is not installed. It does not exist for some platforms.
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
        with contextlib.suppress(RuntimeError):  # it raises the file's error again
            reader.close()
