"""Settings of all tests, and the small real dataset that several tests share."""

import os

from tests.xla import QUICK

# Set before JAX is imported. With eight devices, tests run the parallel code path.
os.environ["XLA_FLAGS"] = f"{QUICK} --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from tests.fork_server import ForkServer
from tests.gcs import Server

jax.config.update("jax_numpy_rank_promotion", "raise")

# Many tests compile the same programs, as functions of their own: a fifth of the time.
_compiled = tempfile.mkdtemp()
atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", _compiled)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

ROOT = Path(__file__).parents[1]

Run = Callable[..., subprocess.CompletedProcess[str]]

# Files with few long tests begin first, so that at the end no worker waits for another.
FIRST = (
    *("test_gs", "test_slurm", "test_evaluate_resumes", "test_evaluate", "test_pretrain"),
    *("test_suite", "test_faults", "test_processes", "test_benchmarks", "test_notebook"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the files; the order within a file stays."""
    rank = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(FIRST)))


@pytest.fixture(scope="session")
def compilations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compilation cache that the commands of one worker share; it halves a tiny run's time.

    Workers do not share it: JAX may read an entry while another process writes it, and then warns.
    """
    return tmp_path_factory.mktemp("compilations")


def _environment(compilations: Path, virtual_devices: int | None = None) -> dict[str, str]:
    """The environment of a command: the machine's devices, unless a number of devices is given."""
    environment = dict(os.environ, XLA_FLAGS=QUICK)
    environment["JAX_COMPILATION_CACHE_DIR"] = str(compilations)
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    if virtual_devices is not None:
        environment["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={virtual_devices}"
    return environment


@pytest.fixture(scope="session")
def run(compilations: Path) -> Iterator[Run]:
    """run("pvn.collect", "--game=Pong", ...): a real command line, from the root of the tree.

    A fork of a process with JAX (`ForkServer`) runs it, but for an environment that Python or JAX
    reads earlier.
    """

    def command(
        module: str, *arguments: str, virtual_devices: int | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        environment = _environment(compilations, virtual_devices)
        if server.can_run(environment):
            return server.run(module, arguments, environment, timeout)
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    with ForkServer(_environment(compilations)) as server:
        yield command


@pytest.fixture(scope="session")
def start(compilations: Path) -> Callable[..., subprocess.Popen[str]]:
    """Like `run`, but does not wait for the command, so that a test can interrupt it.

    process: (rank, number of processes, port, devices of each) for one of several processes.
    """

    def command(
        module: str, *arguments: str, process: tuple[int, int, int, int] | None = None
    ) -> subprocess.Popen[str]:
        environment = _environment(compilations)
        if process is not None:
            rank, size, port, devices = process
            environment = _environment(compilations, devices) | {
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_NUM_PROCESSES": str(size),
                "JAX_PROCESS_ID": str(rank),
            }
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    return command


def _collected(run: Run, game: str, path: Path) -> Path:
    """3,000 steps of random play of a real game."""
    result = run("pvn.collect", f"--game={game}", "--num_steps=3000", f"--dataset={path}")
    assert result.returncode == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def dataset(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 steps of Atari's Breakout."""
    return _collected(run, "Breakout", tmp_path_factory.mktemp("data") / "breakout")


@pytest.fixture(scope="session")
def minatar(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 steps of MinAtar's Breakout. A run on it takes a third of the time of one on Atari."""
    return _collected(run, "MinAtar/Breakout", tmp_path_factory.mktemp("data") / "minatar")


@pytest.fixture(scope="session")
def gcs() -> Iterator[Server]:
    """A server of gs://, for the tests and for the commands that they run."""
    with Server() as server:
        os.environ |= server.environment
        yield server
        for name in server.environment:
            del os.environ[name]
