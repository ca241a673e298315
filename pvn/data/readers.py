"""Units read by several processes at once, and handed over in order.

Each process is ahead of the consumer by a unit or so, which waits for its turn on disk, packed, in
a temporary file without a name.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, NamedTuple

from pvn.data.episodes import Block, Tally, Unit
from pvn.data.prefetch import Prefetch
from pvn.errors import UserError

_DEPTH = 16  # blocks that a single process has ready


class _End(NamedTuple):
    """The last word of a unit."""

    counts: dict[str, int]
    problems: list[str]
    error: Exception | None


def unit_blocks(unit: Unit, tally: Tally) -> Iterator[Block]:
    """The rows of a unit block by block, its episodes numbered from 0."""
    for number, episode in enumerate(unit.read(tally)):
        yield from episode.blocks(number, tally)


def _socket(connection: Connection) -> socket.socket:
    return socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)


def _read_units(connection: Connection) -> None:
    """What a process does: for each unit it is handed a file, and tells of each block in it."""
    with suppress(EOFError, ConnectionError), _socket(connection) as wire:  # until that end is gone
        while True:
            number, unit = connection.recv()
            _, descriptors, *_ = socket.recv_fds(wire, 1, 1)
            if not descriptors:
                return
            tally = Tally()
            error: Exception | None = None
            try:
                with open(descriptors[0], "wb") as file:
                    for block in unit_blocks(unit, tally):
                        size = file.write(pickle.dumps(block))
                        file.flush()
                        connection.send((number, (tally.position, size)))
            except (UserError, OSError) as caught:
                error = caught
            connection.send((number, _End(tally.counts, tally.problems, error)))


class Readers:
    """Reads units in order; use as a context manager.

    With one process, a thread of this one reads ahead. With P of them, process p reads the units p,
    p + P, ..., and unit n + P only once unit n is being consumed.
    """

    def __init__(self, units: Sequence[Unit], num_processes: int, folder: str | Path | None = None):
        """folder: where units wait; by default, where temporary files are."""
        self._units, self._folder = units, folder
        self._num_processes = max(1, min(num_processes, len(units)))
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._connections: list[Connection] = []
        self._live: list[Connection] = []
        self._files: dict[int, IO[bytes]] = {}
        # What was said of each unit: for each block how far it is in its file, and bytes.
        self._words: list[deque[tuple[int, int] | _End]] = [deque() for _ in units]

    def __enter__(self) -> "Readers":
        if self._num_processes == 1:
            return self
        context = multiprocessing.get_context("spawn")  # a fork would inherit threads' locks
        resource_tracker.ensure_running()  # by the first start it would be, and undo the mask
        # Ctrl-C, and the end of a job's time, reach all processes; these leave it to this one.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        with ExitStack() as undo:
            undo.push(self.__exit__)
            try:
                for _ in range(self._num_processes):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_read_units, args=(theirs,))
                    process.start()
                    theirs.close()
                    self._processes.append(process)
                    self._connections.append(ours)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._live = list(self._connections)
            for number in range(self._num_processes):
                self._begin(number)
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for file in self._files.values():
            file.close()

    def blocks(self, number: int, tally: Tally) -> Generator[Block]:
        """The rows of unit `number` block by block, its episodes numbered from 0.

        Args:
          number: each once, and rising.
          tally: takes what was found in the unit, and how far it is.

        Raises:
          CorruptError: as the unit's `read` does.
          UserError: the process that reads it died.
        """
        if self._num_processes == 1:
            with Prefetch(unit_blocks(self._units[number], tally), _DEPTH) as ahead:
                yield from ahead
            return
        self._begin(number + self._num_processes)
        offset = 0
        with self._files.pop(number) as file:
            while not isinstance(word := self._next_word(number), _End):
                tally.position, size = word
                # Not its cursor: that is also the writer's.
                yield pickle.loads(os.pread(file.fileno(), size, offset))
                offset += size
        for name, count in word.counts.items():
            tally.add(name, count)
        tally.problems += word.problems
        if isinstance(word.error, OSError) and word.error.filename is None:  # of what has no name
            raise UserError(
                f"{self._folder or tempfile.gettempdir()}: what is read ahead cannot be kept: "
                f"{word.error.strerror}; --num_processes=1 keeps nothing"
            )
        if word.error:
            raise word.error

    def _begin(self, number: int) -> None:
        """Lets the process of unit `number` read it, when it is done with those before."""
        if number < len(self._units):
            connection = self._connections[number % self._num_processes]
            file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self._files[number] = file
            # If it died, that is told when its unit's turn comes.
            with suppress(ConnectionError), _socket(connection) as wire:
                connection.send((number, self._units[number]))
                socket.send_fds(wire, [b"f"], [file.fileno()])

    def _next_word(self, number: int) -> tuple[int, int] | _End:
        """What a process says next of a unit; takes all that they have said of any, meanwhile."""
        words, its = self._words[number], number % self._num_processes
        while words or self._connections[its] in self._live:
            for connection in wait(self._live, 0 if words else None):
                assert isinstance(connection, Connection)
                try:
                    while connection.poll():
                        unit, word = connection.recv()
                        self._words[unit].append(word)
                except (EOFError, OSError):
                    self._live.remove(connection)
            if words:
                return words.popleft()
        self._processes[its].join()
        status = self._processes[its].exitcode
        raise UserError(
            f"{self._units[number].name}: the process that reads it died (exit status {status})"
            + ("; --num_processes=1 needs less memory" if status == -signal.SIGKILL else "")
        )
