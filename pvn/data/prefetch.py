"""Reading ahead in a thread, with the time that the consumer had to wait."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

DEPTH = 4
_END = object()


class Prefetch:
    """Iterates `items`, of which up to `depth` are made ahead in a thread.

    `waited` is the time in seconds that the consumer has spent waiting. An exception in making an
    item is raised in the consumer. Use as a context manager: leaving it ends the thread.
    """

    def __init__(self, items: Iterable[Any], depth: int = DEPTH):
        self.waited = 0.0
        self._items = iter(items)
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                made: tuple[Any, BaseException | None] = (next(self._items, _END), None)
            except BaseException as error:  # handed to the consumer, who decides
                made = (_END, error)
            while not self._closed.is_set():
                try:
                    self._queue.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if made[0] is _END:
                return
            del made  # what the consumer has let go of is not held here

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Any]:
        while True:
            began = time.perf_counter()
            value, error = self._queue.get()
            self.waited += time.perf_counter() - began
            if error is not None:
                raise error
            if value is _END:
                return
            yield value
