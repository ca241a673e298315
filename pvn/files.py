"""Writing files whole or not at all."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def write_whole(file: Path, content: bytes | str) -> None:
    """Writes under another name, then renames: a reader sees the old file or the new one."""
    partial = file.with_name(file.name + ".partial")
    try:
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
