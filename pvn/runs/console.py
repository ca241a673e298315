"""Shared by all commands: error messages of one line, progress bars, an orderly stop."""

import contextlib
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from absl import app, flags, logging
from tqdm import tqdm

from pvn.errors import UserError
from pvn.runs.config import flag_error
from pvn.storage.remote import delete_temporary


def run(main: Callable[..., int | None], usage: str = "", memory: str = "") -> None:
    """Runs a command: parses absl flags, calls `main`, and exits with its status.

    A `UserError` is one line on stderr and exit status 1. So are a full disk, too little memory and
    a missing accelerator. Every other error keeps its traceback.

    Args:
      main: gets the positional arguments; returns the exit status, or None for 0.
      usage: of a command with positional arguments, for example "python -m x a|b DIR".
      memory: the flags and fields that determine the command's memory, for the message about too
        little memory.
    """
    _speak_utf8()
    words = max(0, len(usage.split()) - 3)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the encoding may lack a letter
            stream.reconfigure(errors="backslashreplace")

    def guarded(argv: list[str]) -> int:
        logging.set_verbosity(logging.WARNING)
        try:
            if len(argv) < 1 + words:
                raise UserError(f"expected {usage}")
            if len(argv) > 1 + words:
                unexpected = argv[1 + words]
                raise UserError(
                    f"unexpected argument {unexpected!r}; flags are written --name=value"
                )
            return main(*argv[1:]) or 0
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            if _is_one_of_several():
                _exit_now(128 + signal.SIGINT)
            return 128 + signal.SIGINT
        except Exception as error:
            line = error_line(error, memory)
            if line is not None:
                print(f"error: {line}", file=sys.stderr)
            elif _is_one_of_several():
                traceback.print_exc()
            else:
                raise
            if isinstance(error, OSError) or _is_one_of_several():
                _exit_now(1)
            return 1

    def parse(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except SystemExit:  # --help; absl would exit with status 1
            sys.exit(0)
        except Exception as error:
            print(f"error: {flag_error(error, argv)}", file=sys.stderr)
            sys.exit(1)

    app.run(guarded, flags_parser=parse)


def _speak_utf8() -> None:
    """Restarts the command in Python's UTF-8 mode if the locale has another encoding.

    With another encoding, tensorstore cannot write to a path that contains an `é`.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def error_line(error: Exception, memory: str = "") -> str | None:
    """The message for an error that the user can fix; None for any other error.

    memory: as in `run`.
    """
    text = str(error)
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError) and error.strerror:  # a full disk, a folder without permission
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        what = text.partition("RESOURCE_EXHAUSTED:")[2].strip() or text
        what = f" ({what.splitlines()[0].rstrip('.')})" if what else ""
        return f"out of memory{what}" + (f"; lower {memory}" if memory else "")
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms and isinstance(error, AssertionError | RuntimeError) and _finds_no_device():
        return f"JAX_PLATFORMS={platforms}: JAX finds no such device; unset it, or set it to cpu"
    return None


def _finds_no_device() -> bool:
    """Whether JAX, if it was imported, finds no device. It then raises several kinds of errors."""
    if "jax" not in sys.modules:
        return False
    try:
        sys.modules["jax"].devices()
    except (AssertionError, RuntimeError):
        return True
    return False


def _is_one_of_several() -> bool:
    """Whether this process is connected to other processes (`pvn.runs.cluster`)."""
    return "jax" in sys.modules and bool(sys.modules["jax"].distributed.is_initialized())


def _exit_now(status: int) -> NoReturn:
    """Ends the process immediately.

    After a full disk, other threads would print more errors. One of several processes would wait
    for the others, which wait for it.
    """
    delete_temporary()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def progress(
    total: int, unit: str, description: str, initial: int = 0, *, hidden: bool = False
) -> tqdm:
    """A progress bar with rate and ETA on stderr. It is hidden if stderr is not a terminal.

    The variable PVN_PROGRESS_SECONDS shows it in a file too, and sets the time between its lines.

    Raises:
      UserError: that variable is not a number.
    """
    text = os.environ.get("PVN_PROGRESS_SECONDS")
    try:
        seconds = float(text or 0.5)
    except ValueError:
        raise UserError(f"PVN_PROGRESS_SECONDS={text}: expected a number of seconds") from None
    return tqdm(
        total=total,
        initial=initial,
        unit=f" {unit}",
        desc=description,
        disable=hidden or (None if text is None else False),
        dynamic_ncols=True,
        mininterval=seconds,
    )


def say(text: str) -> None:
    """Prints a line on stderr, above the progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class Stop:
    """True after SIGTERM or Ctrl-C has asked the command to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status: 0 without a signal, else 128 plus its number."""
        return 0 if self.signal is None else 128 + self.signal


@contextlib.contextmanager
def orderly_stop() -> Iterator[Stop]:
    """Makes the `Stop` true at the first SIGTERM or Ctrl-C. A later signal acts as usual.

    A scheduler may signal the process and then its process group. Further signals within one second
    therefore belong to the same request.
    """
    stop = Stop()
    usual: dict[signal.Signals, Any] = {}
    asked = 0.0

    def request(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if not stop:
            stop.signal, asked = number, time.monotonic()
        elif time.monotonic() > asked + 1:
            for each, handler in usual.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        usual[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
