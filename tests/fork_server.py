"""Runs commands in forks of a process that has imported the large libraries.

A command line of its own spends 1 to 2 s of CPU on importing JAX, Flax, matplotlib and
others. A fork of a process that has imported them spends nothing. The server imports nothing of
this repository: each fork does that, and then is the command, from `sys.argv` to its exit.
"""

import gc
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    *("absl.app", "ale_py", "ale_py.vector_env", "chex", "flax", "flax.linen", "haiku", "jax"),
    *("jax.experimental.multihost_utils", "matplotlib.figure", "ml_collections", "optax"),
    *("matplotlib.backends.backend_agg", "ml_collections.config_flags.config_flags"),
    *("PIL.Image", "safetensors.numpy", "scipy.linalg", "scipy.spatial"),
    *("scipy.stats", "tensorboardX.record_writer", "tensorstore", "tqdm"),
)
# Python and the libraries read these variables when they start.
AT_START = ("JAX_", "LANG", "LC_", "LD_", "PYTHON")


class ForkServer:
    """A server for commands with this environment. A context manager."""

    def __init__(self, environment: dict[str, str]):
        self._environment = environment
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def can_run(self, environment: dict[str, str]) -> bool:
        """Whether a fork sees all of `environment`."""
        differ = dict(self._environment.items() ^ environment.items())
        return not any(name.startswith(AT_START) for name in differ)

    def run(
        self, module: str, arguments: tuple[str, ...], environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Like `python -m module *arguments`, from the root of the tree, with captured output.

        Raises:
          subprocess.TimeoutExpired: after `timeout` seconds; the command is killed.
        """
        command = [sys.executable, "-m", module, *arguments]
        with tempfile.TemporaryDirectory() as folder:
            outputs = [str(Path(folder, name)) for name in ("stdout", "stderr")]
            request = {"command": command, "environment": environment, "outputs": outputs}
            print(json.dumps(request), file=self._server.stdin, flush=True)
            process = int(self._server.stdout.readline())
            in_time, _, _ = select.select([self._server.stdout], [], [], timeout)
            if not in_time:
                os.kill(process, 9)
            status = int(self._server.stdout.readline())
            said = [Path(output).read_text() for output in outputs]
        if not in_time:
            raise subprocess.TimeoutExpired(command, timeout, *said)
        return subprocess.CompletedProcess(command, status, *said)

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=60)


def _serve() -> dict[str, list[str]] | None:
    """Answers requests. Returns the request in each fork, and None in the server, at the end."""
    for line in sys.stdin:
        request = json.loads(line)
        with warnings.catch_warnings(action="ignore"):  # JAX has threads only once it computes
            process = os.fork()
        if process == 0:
            _become(**request)
            return request
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
    return None


def _become(command: list[str], environment: dict[str, str], outputs: list[str]) -> None:
    """Gives this process the streams, the environment and the arguments of a command."""
    files = (os.devnull, *outputs)
    for stream, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, stream)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    sys.orig_argv, sys.argv = command, command[2:]


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()  # a fork copies less
    if _serve() is not None:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
