"""Atomic writes of files, and locks."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pvn.storage.files import LineWriter, Lock, Locked, read_text, write_whole


def test_a_path_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = b"caf\xe9/d\xc3\xa9j\xc3\xa0".decode("utf-8", "surrogateescape")
    write_whole(tmp_path / "f", name)
    assert (tmp_path / "f").read_bytes() == b"caf\xe9/d\xc3\xa9j\xc3\xa0"
    assert read_text(tmp_path / "f") == name


def test_a_line_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """A limit on the size of files replaces a full disk."""
    file = tmp_path / "lines"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with LineWriter(file) as lines:
        lines.write("first")
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
            with pytest.raises(OSError, match="File too large") as caught:
                lines.write("x" * 100)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.filename == str(file)
        assert file.read_text() == "first\n"
        lines.write("second")
    assert file.read_text() == "first\nsecond\n"


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    code = (
        "import sys, pathlib; from pvn.storage.files import Lock; "
        f"lock = Lock(pathlib.Path({str(file)!r})); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(Locked, match=f"^process {other.pid} on host {os.uname().nodename}$"):
            Lock(file)
        other.kill()
    assert file.exists()  # the file that a killed process leaves does not lock
    lock = Lock(file)
    with pytest.raises(Locked, match=f"^process {os.getpid()} on host "):
        Lock(file)
    lock.release()
    lock.release()
    assert not file.exists()


def test_a_lock_is_lost_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    lock = Lock(file)
    assert lock.is_held()
    file.unlink()
    assert not lock.is_held()
    other = Lock(file)
    assert not lock.is_held()
    lock.release()
    assert other.is_held()
    with pytest.raises(Locked):
        Lock(file)
