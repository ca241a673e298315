import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pvn.storage.files import Locked
from pvn.storage.lease import Lease
from pvn.storage.remote import Bucket
from tests.gcs import Server

BEAT, WATCH = 0.2, 1.0
ME = f"process {os.getpid()} on host {socket.gethostname()}"
HOLDER = """
import sys, time
from pvn.storage.lease import Lease
from pvn.storage.remote import Bucket
lease = Lease(Bucket(sys.argv[1]), print, beat=0.2, watch=1.0)
print("held", flush=True)
time.sleep(60)
"""


def lease(bucket: Bucket, said: list[str]) -> Lease:
    return Lease(bucket, said.append, beat=BEAT, watch=WATCH)


def test_one_holder(gcs: Server) -> None:
    bucket, said = Bucket("gs://bucket/lease"), list[str]()
    first = lease(bucket, said)
    assert said == []
    began = time.monotonic()
    with pytest.raises(Locked, match=f"^{ME}$"):
        Lease(bucket, said.append, beat=BEAT, watch=30)
    assert time.monotonic() - began < 10  # at the first beat
    assert said == [f"gs://bucket/lease: {ME} has locked it; is it alive?"]
    time.sleep(WATCH)
    assert first.is_held()
    first.release()
    first.release()
    assert gcs.names("lease/") == []
    lease(bucket, said).release()
    assert len(said) == 1


def test_a_killed_holder(gcs: Server) -> None:
    command = [sys.executable, "-c", HOLDER, "gs://bucket/killed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        bucket, said = Bucket("gs://bucket/killed"), list[str]()
        with pytest.raises(Locked, match=f"^process {process.pid} on host "):
            lease(bucket, said)
        process.send_signal(signal.SIGKILL)
        process.wait()
        began = time.monotonic()
        held = lease(bucket, said)
        assert WATCH <= time.monotonic() - began < 5 * WATCH
        assert held.is_held()
        held.release()


def test_a_lost_lock(gcs: Server) -> None:
    for name, content in [("taken", b"another"), ("gone", None)]:
        bucket = Bucket(f"gs://bucket/{name}")
        held = lease(bucket, [])
        while bucket.write_if(".lock", content, bucket.read(".lock")[1]) is None:
            pass  # a beat came between
        time.sleep(3 * BEAT)
        assert not held.is_held()
        held.release()
        assert bucket.read(".lock")[0] == content


def test_a_write_whose_answer_was_lost(gcs: Server) -> None:
    bucket = Bucket("gs://bucket/answer")
    held = Lease(bucket, print, beat=0.5, watch=5)
    content, generation = bucket.read(".lock")
    following = json.loads(content) | {"beat": 1}
    assert bucket.write_if(".lock", json.dumps(following).encode(), generation)
    time.sleep(1.1)
    assert held.is_held()
    assert json.loads(bucket.read(".lock")[0])["beat"] >= 2
    held.release()


def test_two_newcomers_at_a_dead_lock(gcs: Server) -> None:
    bucket, said = Bucket("gs://bucket/dead"), list[str]()
    bucket.write_if(".lock", b"no JSON", bucket.read(".lock")[1])
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(lease, bucket, said) for _ in range(2)]
        failed = [each.exception() for each in tries]
    assert said == ["gs://bucket/dead: a command has locked it; is it alive?"] * 2
    assert sorted(type(each) for each in failed if each) == [Locked]
    next(each for each in tries if not each.exception()).result().release()
