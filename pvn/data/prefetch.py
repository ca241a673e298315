"""Reads ahead in a thread, and measures how long the consumer waits."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

DEPTH = 4
_END = object()


class Prefetch:
    """Iterates over `items`, which a thread makes in advance.

    Up to `depth` finished items wait in a queue; the thread holds one more. `waited` is the time in
    seconds that the consumer has waited. An exception that `items` raises is raised in the
    consumer. Use as a context manager: leaving it ends the thread.
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
            except BaseException as error:  # raised in the consumer
                made = (_END, error)
            while not self._closed.is_set():
                try:
                    self._queue.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if made[0] is _END:
                return
            del made  # so that only the consumer keeps the item alive

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
