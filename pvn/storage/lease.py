"""A lock on a `gs://` folder: an object that its holder keeps changing.

Google Cloud Storage has no locks, but it writes an object only if the object has not changed in the
meantime. The holder writes the object again every few seconds (a beat). A newcomer watches an
object that is there: if it does not change, its holder is dead. No two clocks are compared.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

from pvn.errors import UserError
from pvn.storage.files import Locked
from pvn.storage.remote import Bucket

_NAME = ".lock"


class Lease:
    """An exclusive lock on a folder of objects, held until `release`.

    A thread keeps it. If the process is killed, the lock is free after `watch` seconds.
    """

    def __init__(
        self,
        bucket: Bucket,
        say: Callable[[str], object],
        *,
        beat: float = 10.0,
        watch: float = 30.0,
    ):
        """Takes the lock. Waits only if there is an object of another holder.

        Args:
          bucket: the folder.
          say: called with one line before it waits.
          beat: seconds between two writes of the holder.
          watch: seconds without a change after which the lock is free; several beats.

        Raises:
          Locked: the lock is taken. The message is `process 12 on host x`, or empty if unknown.
          UserError: the server refuses.
        """
        self._bucket, self._seconds = bucket, beat
        me = {"holder": uuid.uuid4().hex, "process": os.getpid(), "host": socket.gethostname()}
        self._me, self._count, self._lost = me, 0, False
        self._one_at_a_time, self._ended = threading.Lock(), threading.Event()
        content, self._generation = bucket.read(_NAME)
        if content is not None:
            say(f"{bucket.path}: {_who(content) or 'a command'} has locked it; is it alive?")
            self._generation = _watch(bucket, self._generation, beat / 10, watch)
        self._beat()
        if self._lost:
            raise Locked(_who(bucket.read(_NAME)[0]))
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def is_held(self) -> bool:
        """Whether the lock is still this one. Asks the server if the last beat is late.

        Raises:
          UserError: the beat is late and the server refuses.
        """
        if not self._lost and time.monotonic() > self._last + 2 * self._seconds:
            self._beat()
        return not self._lost

    def release(self) -> None:
        """Releases the lock. If the server refuses, the lock is free later. May be called again."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            with contextlib.suppress(UserError):
                self._bucket.write_if(_NAME, None, self._generation)  # not another's

    def _keep(self) -> None:
        while not self._ended.wait(self._seconds) and not self._lost:
            with contextlib.suppress(UserError):  # tries again; `is_held` raises the error
                self._beat()

    def _beat(self) -> None:
        """Writes the object, if it is still this lock's, or notes that the lock is lost."""
        with self._one_at_a_time:
            began = time.monotonic()
            content = json.dumps(self._me | {"beat": self._count}).encode()
            generation = self._bucket.write_if(_NAME, content, self._generation)
            if generation is None:  # perhaps it was written, but the answer was lost
                there, generation = self._bucket.read(_NAME)
                if there != content:
                    self._lost = True
                    return
            self._generation, self._last = generation, began
            self._count += 1


def _watch(bucket: Bucket, generation: bytes, pause: float, seconds: float) -> bytes:
    """The generation with which the lock can be taken, after watching the object.

    Raises:
      Locked: the object changed.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(pause)
        content, now = bucket.read(_NAME)
        if content is None:  # released
            return now
        if now != generation:
            raise Locked(_who(content))
    return generation


def _who(content: bytes | None) -> str:
    """The holder that the object names."""
    try:
        holder = json.loads(content or b"")
        return f"process {holder['process']} on host {holder['host']}"
    except (ValueError, KeyError, TypeError):
        return ""
