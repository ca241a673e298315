"""Processes that run emulators in parallel; an `Emulator` holds Python's lock while it runs."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

from pvn.machine import usable_cores

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def _end_with_parent() -> None:
    """Ends this process as soon as its parent has died, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Workers:
    """Processes that call functions, at most one a core. Each starts when it is needed, in about a
    second."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(
            len(usable_cores()),
            # A forked process may hang, because threads of its parent held locks.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_end_with_parent,
        )

    def submit(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Calls a function of a module in a process. Arguments and result are pickled."""
        # A scheduler or Ctrl-C signals the whole process group. Only the parent reacts: a process
        # that starts here inherits the mask.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            return self._pool.submit(function, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Drops the calls that have not begun. After an exception it ends the others too."""
        if kind is not None:
            for process in multiprocessing.active_children():
                process.kill()
        self._pool.shutdown(cancel_futures=True)
