"""launch/local.sh with real processes: what they are told, how they end, who ends them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Says hello; on SIGTERM or SIGINT it says so and ends a little later with the usual status.
POLITE = """
import os, signal, sys, time
def stop(number, _):
    print("signal", number, flush=True)
    time.sleep(0.3)
    print("bye", flush=True)
    sys.exit(128 + number)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
index = os.environ["JAX_PROCESS_ID"]
print("process", index, "of", os.environ["JAX_NUM_PROCESSES"], flush=True)
if index == sys.argv[1]:
    sys.exit(int(sys.argv[2]))
while True:
    time.sleep(0.05)
"""


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = ["bash", "launch/local.sh", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize(
    "arguments",
    [[], ["2"], ["0", "--", "true"], ["two", "--", "true"], ["2", "true"], ["2", "--"]],
)
def test_bad_arguments(arguments: list[str]) -> None:
    process = _start(*arguments)
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert stderr == "error: expected launch/local.sh N -- COMMAND, with N of 1 or more\n"


def test_output_and_arguments() -> None:
    process = _start("2", "--", "sh", "-c", 'echo "$1"; printf "no newline" >&2', "sh", "a  b*")
    stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert stdout == "a  b*\n"
    assert stderr.replace("no newline", "", 1) in (
        "[1] a  b*\n[1] no newline\n",  # process 0 was first
        "[1] a  b*\n[1] \nno newline",
    )


def test_a_failure_ends_all() -> None:
    process = _start("3", "--", sys.executable, "-c", POLITE, "1", "7")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 7
    assert "error: process 1 ended with status 7\n" in stderr
    # A process may have got SIGTERM before it could handle it.
    assert stdout in ("", "process 0 of 3\n", "process 0 of 3\nsignal 15\nbye\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_to_all(number: signal.Signals) -> None:
    process = _start("2", "--", sys.executable, "-c", POLITE, "none", "0")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "process 0 of 2\n"
    assert process.stderr.readline() == "[1] process 1 of 2\n"
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert stdout == f"signal {number:d}\nbye\n"
    assert stderr == f"[1] signal {number:d}\n[1] bye\n"


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """With a grace of 1 s; children of the process are killed too."""
    script = f"""
trap '' TERM
[ "$JAX_PROCESS_ID" = 0 ] || {{ sleep 0.5; exit 3; }}
sleep 600 & echo $! >{tmp_path}/child
wait
"""
    environment = os.environ | {"LOCAL_GRACE": "1"}
    command = ["bash", "launch/local.sh", "2", "--", "bash", "-c", script]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, timeout=30
    )
    assert result.returncode == 3
    assert result.stderr.startswith("error: process 1 ended with status 3\n")
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while child.is_file() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
