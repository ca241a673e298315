"""Folders by tensorstore's client: local, or `gs://bucket/path` on Google Cloud Storage.

tensorstore is imported where it is used: who reads a local folder does not wait for it.
"""

import atexit
import contextlib
import errno
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from pvn.errors import UserError
from pvn.storage.paths import is_remote

# About 40 seconds of tries; by default tensorstore tries for 15 minutes.
_RETRIES = {"max_retries": 8, "initial_delay": "500ms", "max_delay": "8s"}
PATIENCE_SECONDS = 300.0  # for any operation
ANSWER_SECONDS = 60.0  # for one small object, from a server that may not answer at all
_DETAILS = re.compile(r" \[\w+='.*", re.DOTALL)  # that tensorstore adds to a message
_TOGETHER = 16  # objects that are transferred at the same time


def store_spec(path: str | Path) -> dict[str, Any]:
    """tensorstore's spec of a folder. path: local, or `gs://bucket/path`.

    Raises:
      UserError: the path is not UTF-8.
    """
    text = str(path).rstrip("/") + "/"
    if is_remote(text):
        bucket, _, prefix = text[len("gs://") :].partition("/")
        context = {"gcs_request_retries": _RETRIES}
        return {"driver": "gcs", "bucket": bucket, "path": prefix, "context": context}
    # tensorstore refuses `..`, and expects UTF-8 names in any locale.
    try:
        return {"driver": "file", "path": os.fsencode(os.path.abspath(text)).decode() + "/"}
    except UnicodeDecodeError:
        raise UserError(f"{path}: its name is not UTF-8; rename it") from None


def delete_unfinished(path: str | Path, own_file: re.Pattern[str]) -> None:
    """Deletes what a killed process left of unfinished writes in a local folder.

    tensorstore writes a file under another name, and renames it. The next write of the same file
    goes into the one that is left, and does not shorten it: its old end would stay, and the file
    could not be read. Nothing for `gs://`.

    own_file: names, within the folder, of the files that no other process writes.
    """
    if not is_remote(path):
        for file in Path(path).rglob("*.__lock"):
            if own_file.fullmatch(str(file.relative_to(path)).removesuffix(".__lock")):
                file.unlink(missing_ok=True)


def result_of(place: str, problem: str, future: Any, timeout: float = PATIENCE_SECONDS) -> Any:
    """The result of a tensorstore future.

    Args:
      place: the beginning of the message, such as `dataset gs://bucket/path`.
      problem: what failed, for the message.
      future: the future.
      timeout: seconds to wait. They are counted here, because tensorstore counts by the wall clock:
        after a jump back it may start no thread for as long.

    Raises:
      UserError: the future failed with a ValueError or OSError, or there is no result in time. The
        message is one line with `problem` and the reason.
    """
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout):
        raise UserError(f"{place}: {problem}: no answer within {timeout:g} s")
    try:
        return future.result()
    except (ValueError, OSError) as error:  # a corrupt file, a full disk, another format, no access
        reason = _DETAILS.sub("", str(error))
        if (full := os.strerror(errno.ENOSPC)) in reason:
            reason = full
        elif reason.startswith("NOT_FOUND") and "http_response_code='404'" in str(error):
            reason = "there is no such bucket"  # a missing object is no error
    raise UserError(f"{place}: {problem}: {reason}") from None


class Bucket:
    """The objects under a `gs://` path. Every method raises `UserError` if the server refuses."""

    def __init__(self, path: str):
        """path: `gs://bucket/path`; nothing need exist there. It is not contacted yet."""
        import tensorstore as ts

        self.path = path
        self._store = self._done("cannot be opened", ts.KvStore.open(store_spec(path)))
        self._range = ts.KvStore.KeyRange

    def read(self, name: str) -> tuple[bytes | None, bytes]:
        """(content, generation) of a small object; the content is None if there is no object."""
        found = self._done(f"{name} cannot be read", self._store.read(name), ANSWER_SECONDS)
        return (found.value if found.state == "value" else None), found.stamp.generation

    def write_if(self, name: str, content: bytes | None, generation: bytes) -> bytes | None:
        """Writes a small object if its generation is still this one. None deletes the object.

        Returns:
          The new generation, or None if the object has changed and was not written.
        """
        written = self._store.write(name, content, if_equal=generation)
        stamp = self._done(f"{name} cannot be written", written, ANSWER_SECONDS)
        return stamp.generation or None

    def list(self, name: str = "") -> list[str]:
        """Sorted names of objects.

        name: an object, a folder, or a pattern in which `*` stands for any text; "" for all. A name
        that would leave the folder is left out.
        """
        start = name.partition("*")[0]
        end = start and start[:-1] + chr(ord(start[-1]) + 1)
        keys = self._done("cannot be listed", self._store.list(self._range(start, end)))
        names = (key.decode(errors="replace") for key in keys)
        return sorted(n for n in names if _belongs(n, name) and ".." not in PurePosixPath(n).parts)

    def download(self, names: Sequence[str], folder: Path) -> None:
        """Copies objects to files of the same names under `folder`. A missing object is left out.

        Raises:
          OSError: a file cannot be written.
        """
        for part in _parts(names):
            reads = [self._store.read(name) for name in part]
            for name, read in zip(part, reads, strict=True):
                found = self._done(f"{name} cannot be read", read)
                if found.state == "value":
                    file = folder / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(found.value)

    def upload(self, names: Sequence[str], folder: Path) -> None:
        """Copies files under `folder` to objects of the same names."""
        for part in _parts(names):
            self._wait(part, [self._store.write(n, (folder / n).read_bytes()) for n in part])

    def delete(self, names: Sequence[str]) -> None:
        """Deletes objects; they need not exist."""
        for part in _parts(names):
            self._wait(part, [self._store.write(name, None) for name in part])

    def _wait(self, names: Sequence[str], writes: Sequence[Any]) -> None:
        for write in writes:
            write.exception()  # no write may be under way after an error
        for name, write in zip(names, writes, strict=True):
            self._done(f"{name} cannot be written", write)

    def _done(self, problem: str, future: Any, timeout: float = PATIENCE_SECONDS) -> Any:
        return result_of(self.path, problem, future, timeout)


def _belongs(name: str, wanted: str) -> bool:
    return (
        not wanted or name == wanted or name.startswith(f"{wanted}/") or fnmatchcase(name, wanted)
    )


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _TOGETHER):
        yield names[start : start + _TOGETHER]


@contextlib.contextmanager
def reading(path: str | Path, *names: str) -> Iterator[Path]:
    """A local folder with the files at `path`: `path` itself, or a copy of a `gs://` path.

    A copy is deleted when the process ends. A `UserError` in the context names the `gs://` path
    instead of the copy.

    Args:
      path: local, or `gs://bucket/path`.
      names: what is copied, as in `Bucket.list`. The first is the name of one object.

    Raises:
      UserError: the server refuses.
    """
    if not is_remote(path):
        yield Path(path)
        return
    bucket = Bucket(str(path))
    bucket.read(names[0])  # a refused list looks like an empty one
    folder = temporary_folder()
    bucket.download([found for name in names for found in bucket.list(name)], folder)
    try:
        yield folder
    except UserError as error:
        raise UserError(str(error).replace(str(folder), bucket.path)) from None


_temporary: list[Path] = []


def temporary_folder() -> Path:
    """A new local folder, deleted when the process ends."""
    _temporary.append(Path(tempfile.mkdtemp(prefix="pvn-")))
    return _temporary[-1]


@atexit.register
def delete_temporary() -> None:
    """Deletes what `temporary_folder` has made. For a process that ends without `atexit`."""
    for folder in _temporary:
        shutil.rmtree(folder, ignore_errors=True)
