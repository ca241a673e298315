"""What every command shares: one line for bad input, live progress, an orderly stop."""

import contextlib
import re
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from absl import app, flags, logging
from tqdm import tqdm

from pvn.config import unreadable_config
from pvn.errors import UserError


def run(main: Callable[..., int | None], usage: str = "") -> None:
    """Runs a command: absl flags, exit status, and one line on stderr for a `UserError`.

    usage: of a command that takes words besides flags, `main`'s arguments: "python -m x a|b DIR".
    """
    words = max(0, len(usage.split()) - 3)

    def guarded(argv: list[str]) -> int:
        logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it touches
        try:
            if len(argv) < 1 + words:
                raise UserError(f"expected {usage}")
            if len(argv) > 1 + words:
                unexpected = argv[1 + words]
                raise UserError(
                    f"unexpected argument {unexpected!r}; flags are written --name=value"
                )
            return main(*argv[1:]) or 0
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except OSError as error:  # a full disk, a folder that is not ours
            if error.filename is None or error.strerror is None:
                raise
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 128 + signal.SIGINT

    def parse(argv: list[str]) -> list[str]:
        try:
            return flags.FLAGS(argv)
        except Exception as error:
            print(f"error: {_flag_error(error)}", file=sys.stderr)
            sys.exit(1)

    app.run(guarded, flags_parser=parse)


def _flag_error(error: Exception) -> str:
    """One line for what absl and ml_collections raise in many lines and types."""
    text = str(error.args[0] if error.args else error).strip()
    lines = [line.strip() for line in text.splitlines()]
    if isinstance(error, OSError):
        return unreadable_config(error)
    if isinstance(error, SyntaxError):
        return f"--config={error.filename}: line {error.lineno} is not Python, {error.msg}"
    if isinstance(error, AttributeError | KeyError):  # a config field that is not there
        name, *_ = re.findall(r"\w+", text)
        hint = re.search(r'mean "(\w+)"', text)
        return f"config.{name}: there is no such field" + (
            f"; did you mean {hint.group(1)}?" if hint else ""
        )
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def progress(total: int, unit: str, description: str, initial: int = 0) -> tqdm:
    """A live bar with rate and ETA on stderr; nothing at all off a terminal."""
    return tqdm(
        total=total,
        initial=initial,
        unit=f" {unit}",
        desc=description,
        disable=None,
        dynamic_ncols=True,
        mininterval=0.5,
    )


def say(text: str) -> None:
    """A line for the person, above the bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class Stop:
    """Whether SIGTERM or Ctrl-C has asked for an end; `status` is the exit status to give."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        return 0 if self.signal is None else 128 + self.signal


@contextlib.contextmanager
def orderly_stop() -> Iterator[Stop]:
    """Turns the first SIGTERM or Ctrl-C into a truthy `Stop`; a second one acts as usual."""
    stop = Stop()
    usual: dict[signal.Signals, Any] = {}

    def request(number: int, _: FrameType | None) -> None:
        stop.signal = number
        for each, handler in usual.items():
            signal.signal(each, handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        usual[number] = signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
