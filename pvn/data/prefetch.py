"""Reading ahead in a thread, with the time that the consumer had to wait."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any


class Prefetch:
    """Iterates `make(step)` for step = start .. stop-1, made up to `depth` ahead in a thread.

    `waited` is the time in seconds that the consumer has spent waiting. An exception in `make`
    is raised in the consumer. Use as a context manager: leaving it ends the thread.
    """

    def __init__(self, make: Callable[[int], Any], start: int, stop: int, depth: int = 4):
        self.waited = 0.0
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
        self._closed = threading.Event()
        self._steps = range(start, stop)
        self._thread = threading.Thread(target=self._run, args=(make,), daemon=True)

    def _run(self, make: Callable[[int], Any]) -> None:
        for step in self._steps:
            try:
                item: tuple[Any, BaseException | None] = (make(step), None)
            except BaseException as error:  # handed to the consumer, who decides
                item = (None, error)
            while not self._closed.is_set():
                try:
                    self._queue.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._closed.is_set() or item[1] is not None:
                return

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Any]:
        for _ in self._steps:
            began = time.perf_counter()
            value, error = self._queue.get()
            self.waited += time.perf_counter() - began
            if error is not None:
                raise error
            yield value
