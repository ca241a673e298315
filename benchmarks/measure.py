"""Timing on a shared machine: cases take turns, and their medians are compared."""

import contextlib
import datetime
import functools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.machine import machine as machine_of_run

Call = Callable[[], object]

CALLS_A_TURN = 4


def run_command(*arguments: str) -> None:
    """Runs a command of pvn: its module and its flags.

    Raises:
      UserError: it failed; the message is its last line.
    """
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=root, capture_output=True, text=True
    )
    if done.returncode:
        line = done.stderr.strip().rpartition("\n")[2]
        raise UserError(f"{arguments[0]}: {line.removeprefix('error: ')}")


class Measured(NamedTuple):
    """The measurements of one case."""

    seconds: float  # median of a call
    peak_mib: float  # peak memory: of the device if it reports it, else of the whole process


def _take_turns(connection: Connection, make: Callable[[], Call]) -> None:
    """Runs in its own process: a turn for each True received, then sends its peak memory."""
    call = make()
    jax.block_until_ready(call())
    connection.send(None)
    while connection.recv():
        jax.block_until_ready(call())  # not timed: the caches hold the data of another case
        times = []
        for _ in range(CALLS_A_TURN):
            began = time.perf_counter()
            jax.block_until_ready(call())
            times.append(time.perf_counter() - began)
        connection.send(times)
    stats = jax.devices()[0].memory_stats() or {}
    process_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send(stats.get("peak_bytes_in_use", process_kib * 1024) / 2**20)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    ours = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(ours)


def measure(
    cases: Mapping[str, Callable[[], Call]],
    rounds: int,
    environments: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> dict[str, Measured]:
    """Times each case for `rounds` turns.

    Each case runs in its own process, because in a shared one the state of the memory allocator
    after one case slows the next one down. The cases take turns, so that a slow time of the machine
    affects all of them.

    Args:
      cases: by name, picklable functions that make the call to time.
      rounds: number of turns of each case.
      environments: of some cases, by name, variables of their processes that replace ours.
    """
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several processes on one GPU
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name, make in cases.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_take_turns, args=(theirs, make), daemon=True)
        with _environment(environments.get(name, {})):
            process.start()
        theirs.close()  # so that `recv` fails if the worker dies
        ours.recv()
        workers[name] = (ours, process)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (connection, _) in workers.items():
            connection.send(True)
            times[name] += connection.recv()
    measured = {}
    for name, (connection, process) in workers.items():
        connection.send(False)
        measured[name] = Measured(statistics.median(times[name]), connection.recv())
        process.join()
    return measured


MATMUL_SIZE = 2048
MATMUL_GFLOP = 2 * MATMUL_SIZE**3 / 1e9


def matrix_product() -> Call:
    """A call of a float32 product of two square matrices: near the machine's peak speed."""
    random = np.random.default_rng(0)
    shape = (MATMUL_SIZE, MATMUL_SIZE)
    a, b = (jax.device_put(random.normal(size=shape).astype(np.float32)) for _ in range(2))
    product = jax.jit(lambda a, b: a @ b)
    return lambda: product(a, b)


_ADDED = 2**26  # numbers
ADDED_BYTES = 8 * _ADDED


def add_one() -> Call:
    """A call that reads and writes `ADDED_BYTES` of memory, both together."""
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    array = jnp.zeros(_ADDED)

    def call() -> object:
        nonlocal array
        array = add(array)
        return array

    return call


def print_row(**row: object) -> None:
    """Prints one JSON line: floats to six digits, and the date, the machine and the versions."""
    rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}
    print(json.dumps(rounded | machine()), flush=True)


@functools.cache
def machine() -> dict[str, str]:
    """What the figures of this run depend on: date (UTC), processor, device, and versions."""
    cpu = machine_of_run()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": f"{cpu['cores']} core{'s' * (cpu['cores'] != '1')} of {cpu['processor']}",
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
    }
