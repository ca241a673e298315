"""Watches the other processes of a run, and ends this one when one of them is lost.

A collective operation waits for all processes. If one has died, the others would wait for ever, or
JAX would abort them with a stack trace. Here they end within `SILENCE` seconds, with one line.

Every process has a connection to the first one. Both ends send a byte every `BEAT` seconds. A
connection that closes without a goodbye, or stays silent, is a lost process.
"""

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

BEAT = 5.0  # seconds between two beats
SILENCE = 40.0  # seconds without a beat after which a process counts as lost
_CONNECT = 20.0  # seconds to try the addresses of the first process

_ALIVE, _GOODBYE, _LOST = b"a", b"g", b"l"  # a lost process is named by the four bytes after it


def die(line: str) -> NoReturn:
    """Prints an error and ends the process at once: other threads may hang in a collective."""
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"\nerror: {line}\n".encode())
    os._exit(1)


def lost(process: int) -> str:
    """The message for a lost process."""
    return f"process {process} of this run has ended or does not answer; all processes stop"


class Peers:
    """The connections to the other processes. One thread sends, receives and judges."""

    def __init__(
        self,
        connections: dict[int, socket.socket],
        on_lost: Callable[[str], Any] = die,
        beat: float = BEAT,
        silence: float = SILENCE,
    ):
        """Starts to watch.

        Args:
          connections: from `listen` or `connect`: process -> connection.
          on_lost: called once with a message, in the watching thread.
          beat, silence: as `BEAT` and `SILENCE`.
        """
        self._connections, self._on_lost = dict(connections), on_lost
        self._beat, self._silence = beat, silence
        self._heard = dict.fromkeys(connections, time.monotonic())
        self._lock = threading.Lock()  # of the connections
        self._closing = threading.Event()
        self._found = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_for_loss(self, seconds: float) -> None:
        """Returns after `seconds`. If a process is found lost meanwhile, this process ends."""
        if self._connections and self._found.wait(seconds):
            self._thread.join()

    def close(self) -> None:
        """Says goodbye: the others may end without this process."""
        self._closing.set()
        self._thread.join()
        with self._lock:
            for connection in self._connections.values():
                with contextlib.suppress(OSError):
                    connection.sendall(_GOODBYE)
                connection.close()
            self._connections.clear()

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        for process, connection in self._connections.items():
            connection.settimeout(self._beat)
            selector.register(connection, selectors.EVENT_READ, process)
        due = time.monotonic()
        while selector.get_map() and not self._closing.is_set():
            now = time.monotonic()
            if now >= due:
                due = now + self._beat
                self._send(_ALIVE)
            for key, _ in selector.select(min(0.2, self._beat)):
                verdict = self._receive(key.data)
                if verdict is not None:
                    selector.unregister(key.fileobj)
                    if verdict >= 0:
                        return self._judge(verdict)
            for key in list(selector.get_map().values()):
                if time.monotonic() > self._heard[key.data] + self._silence:
                    return self._judge(key.data)

    def _receive(self, process: int) -> int | None:
        """The process that is lost; -1 after a goodbye; None if all is well."""
        try:
            data = self._connections[process].recv(4096)
        except TimeoutError:
            return None
        except OSError:
            return process
        self._heard[process] = time.monotonic()
        if (at := data.find(_LOST)) >= 0:
            name = data[at + 1 : at + 5].ljust(4, b"\0")  # whole: a packet holds all of a message
            return int.from_bytes(name, "big")
        if _GOODBYE in data:
            return -1
        return None if data else process

    def _judge(self, process: int) -> None:
        self._send(_LOST + process.to_bytes(4, "big"))
        self._found.set()
        self._on_lost(lost(process))

    def _send(self, message: bytes) -> None:
        for connection in self._connections.values():
            with contextlib.suppress(OSError):  # receiving will tell
                connection.sendall(message)


def open_listener() -> socket.socket:
    """A socket on a free port of all interfaces, for `listen`."""
    return socket.create_server(("", 0))


def addresses(coordinator: str) -> list[str]:
    """IPv4 addresses by which other processes may reach this host, the likeliest first.

    coordinator: name or address of this host, as the others know it; may be empty.
    """
    found = []
    for name in (coordinator, socket.gethostname()):
        with contextlib.suppress(OSError):
            found += [str(info[4][0]) for info in socket.getaddrinfo(name, None, socket.AF_INET)]
    outward = [address for address in found if not address.startswith("127.")]
    return list(dict.fromkeys([*outward, "127.0.0.1"]))


def listen(listener: socket.socket, count: int, seconds: float) -> dict[int, socket.socket]:
    """Accepts the connections of processes 1 to `count` - 1. Closes the listener.

    Raises:
      TimeoutError: not all came within `seconds`.
    """
    connections: dict[int, socket.socket] = {}
    deadline = time.monotonic() + seconds
    with listener:
        while len(connections) < count - 1:
            listener.settimeout(max(deadline - time.monotonic(), 0.01))
            connection, _ = listener.accept()
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                process = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
                if 0 < process < count and process not in connections:
                    connections[process] = connection
                    continue
            connection.close()  # a stranger
    return connections


def connect(hosts: Sequence[str], port: int, process: int) -> dict[int, socket.socket]:
    """Connects process `process` to the first one.

    Raises:
      TimeoutError: none of its addresses answers.
    """
    deadline = time.monotonic() + _CONNECT
    while time.monotonic() < deadline:
        for host in hosts:
            with contextlib.suppress(OSError):
                connection = socket.create_connection((host, port), timeout=5)
                connection.sendall(process.to_bytes(4, "big"))
                return {0: connection}
        time.sleep(0.2)
    raise TimeoutError(f"none of {', '.join(hosts)} answers at port {port}")
