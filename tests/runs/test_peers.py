"""The watch over other processes, on real sockets; each end is a `Peers` of this process."""

import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pvn.runs.peers import Peers, addresses, connect, listen, lost, open_listener

BEAT, SILENCE = 0.05, 0.6


class Ring:
    """The watches of three processes, and the messages that each gave."""

    def __init__(self) -> None:
        listener = open_listener()
        port = listener.getsockname()[1]
        found: dict[int, socket.socket] = {}
        accept = threading.Thread(target=lambda: found.update(listen(listener, 3, 10)))
        accept.start()
        hosts = ["192.0.2.1", *addresses("localhost")][1:]
        self.sockets = {rank: connect(hosts, port, rank)[0] for rank in (2, 1)}
        accept.join()
        self.messages: queue.Queue[tuple[int, str]] = queue.Queue()
        ends = {0: found, **{rank: {0: end} for rank, end in self.sockets.items()}}
        self.peers = {
            rank: Peers(end, lambda line, rank=rank: self.messages.put((rank, line)), BEAT, SILENCE)
            for rank, end in ends.items()
        }

    def told(self, count: int) -> set[tuple[int, str]]:
        return {self.messages.get(timeout=10) for _ in range(count)}


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring()
    yield ring
    for peers in ring.peers.values():
        peers.close()
    assert ring.messages.empty()


def test_silence_is_not_found_while_all_beat(ring: Ring) -> None:
    time.sleep(2 * SILENCE)
    assert ring.messages.empty()


def test_goodbye_is_no_loss(ring: Ring) -> None:
    ring.peers[1].close()
    ring.peers[0].wait_for_loss(5 * BEAT)
    ring.peers[0].close()
    time.sleep(2 * BEAT)
    assert ring.messages.empty()


def test_a_closed_connection_is_told_to_all(ring: Ring) -> None:
    ring.sockets[1].shutdown(socket.SHUT_RDWR)  # as the kernel does when a process is killed
    assert ring.told(3) == {(0, lost(1)), (1, lost(0)), (2, lost(1))}


def test_silence_is_a_loss(ring: Ring) -> None:
    ring.peers[2]._closing.set()  # as a process that hangs: it neither beats nor closes
    began = time.monotonic()
    assert ring.told(2) == {(0, lost(2)), (1, lost(2))}
    assert time.monotonic() - began > SILENCE - BEAT
    ring.peers[0].wait_for_loss(1)  # returns: the loss is known


def test_a_stranger_at_the_port_is_ignored() -> None:
    listener = open_listener()
    port = listener.getsockname()[1]
    found: dict[int, socket.socket] = {}
    accept = threading.Thread(target=lambda: found.update(listen(listener, 2, 10)))
    accept.start()
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        mine = connect(["127.0.0.1"], port, 1)[0]
        accept.join()
    assert found.keys() == {1}
    mine.close()
    found[1].close()


def test_nobody_comes() -> None:
    with pytest.raises(TimeoutError):
        listen(open_listener(), 2, 0.1)
