"""Atomic writes of files, and locks on directories."""

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
    """Adds the file's name to an `OSError` without one, such as the error of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


def write_whole(file: Path, content: bytes | str) -> None:
    """Writes a file under another name, then renames it: a reader sees the old or the new file.

    Text is written as UTF-8. Lone surrogates, as in the path of a file whose name is not UTF-8,
    become the original bytes.

    Raises:
      OSError: the file cannot be written; the error names the file.
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
    """Appends lines to a text file without buffering. If a write fails, no part of the line stays.

    An `OSError`, such as the error of a full disk, names the file.
    """

    def __init__(self, file: Path):
        """file: made if it does not exist."""
        self._file = file
        self._stream = file.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Appends the line and a newline."""
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
    """Another process, or another `Lock` of this process, holds the lock. The message says who."""


class Lock:
    """An exclusive lock on a directory, or on a file in it, held until `release`.

    The kernel releases the lock when the process ends, even if it is killed. On a file system
    without locks, the lock always succeeds.
    """

    def __init__(self, path: Path):
        """Takes the lock without waiting.

        Args:
          path: an existing directory, or a file. A file is made, and removed by `release`. It holds
            the process id and the host of the holder. Network file systems can lock only files.

        Raises:
          Locked: the lock is taken. The message is `process 12 on host x`, or empty if unknown.
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
            os.close(self._descriptor)  # the previous holder removed the file before we locked it
        self._close = weakref.finalize(self, os.close, self._descriptor)
        if self._is_file:
            with contextlib.suppress(OSError):  # a full disk: the lock is still held
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

    def fileno(self) -> int:
        """The file descriptor. A process that inherits it holds the lock too, until it ends."""
        return self._descriptor

    def release(self) -> None:
        """Releases the lock. A second call has no effect."""
        if self._close.alive:
            if self._is_file and self.is_held():
                with contextlib.suppress(OSError):
                    self._path.unlink()
            self._close()
