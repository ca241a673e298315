"""Writing files whole or not at all, and locks on directories."""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Adds the file's name to an `OSError` that has none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


def write_whole(file: Path, content: bytes | str) -> None:
    """Writes under another name, then renames: a reader sees the old file or the new one.

    Text is written as UTF-8. A path in it keeps the bytes that it has on disk.
    """
    partial = file.with_name(file.name + ".partial")
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    try:
        with naming(file):
            partial.write_bytes(content)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_json(file: Path, value: Any) -> None:
    """`write_whole` of a value as JSON."""
    write_whole(file, json.dumps(value, indent=1) + "\n")


def read_text(file: Path) -> str:
    """The text of a UTF-8 file. A byte that is not UTF-8 becomes a lone surrogate."""
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class LineWriter:
    """Appends lines to a text file, each at once: a line is there whole or not at all.

    An `OSError`, such as that of a full disk, names the file.
    """

    def __init__(self, file: Path):
        """file: made if it is not there."""
        self._file = file
        self._stream = file.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Appends the line and its end."""
        raw = memoryview((line + "\n").encode("utf-8", "surrogateescape"))
        start = os.fstat(self._stream.fileno()).st_size
        try:
            with naming(self._file):
                while raw:
                    raw = raw[self._stream.write(raw) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._stream.truncate(start)
            raise

    def close(self) -> None:
        with naming(self._file):
            self._stream.close()

    def __enter__(self) -> "LineWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Locked(Exception):
    """Another process, or another place in this one, holds the lock. The message says who."""


class Lock:
    """An exclusive lock on a directory, or on a file of it, held until `release`.

    The kernel releases it when the process ends, in whatever way. A file system without locks
    locks nobody out.
    """

    def __init__(self, path: Path):
        """Takes the lock at once or not at all.

        Args:
          path: an existing directory; or a file, which is made, and removed at the release. The
            file holds the process id and host of the holder. Network file systems lock files only.

        Raises:
          Locked: it is taken; the message is `process 12 on host x`, or nothing where unknown.
          OSError: `path` cannot be opened.
        """
        self._path, self._is_file = path, not path.is_dir()
        while True:
            flags = os.O_RDWR | os.O_CREAT if self._is_file else os.O_RDONLY
            self._descriptor = os.open(path, flags, 0o666)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._descriptor, 200) if self._is_file else b""
                os.close(self._descriptor)
                raise Locked(holder.decode(errors="replace").strip()) from None
            except OSError:
                pass  # a file system without locks
            if self.is_held():
                break
            os.close(self._descriptor)  # its holder removed the file before we had the lock
        self._close = weakref.finalize(self, os.close, self._descriptor)
        if self._is_file:
            with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
                os.ftruncate(self._descriptor, 0)
                me = f"process {os.getpid()} on host {socket.gethostname()}\n"
                os.write(self._descriptor, me.encode())

    def is_held(self) -> bool:
        """Whether the path is still the file or directory that was locked."""
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def release(self) -> None:
        """Gives the lock back. Safe to call twice."""
        if self._close.alive:
            if self._is_file and self.is_held():
                with contextlib.suppress(OSError):
                    self._path.unlink()
            self._close()
