"""Writing files whole or not at all."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Gives an `OSError` of an open file, as of a full disk, the name that it lacks."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


def write_whole(file: Path, content: bytes | str) -> None:
    """Writes under another name, then renames: a reader sees the old file or the new one."""
    partial = file.with_name(file.name + ".partial")
    try:
        with naming(file):
            partial.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_json(file: Path, value: Any) -> None:
    """`write_whole` of a value as JSON."""
    write_whole(file, json.dumps(value, indent=1) + "\n")


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
