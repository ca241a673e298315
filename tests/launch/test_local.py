"""launch/local.sh with real processes: what they are told, how they end, who ends them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Says hello; on SIGTERM or SIGINT it says so and ends a little later with the usual status. Process
# argv[1] ends with status argv[2] when files in argv[3] say that the other two can be signalled.
POLITE = """
import os, pathlib, signal, sys, time
def stop(number, _):
    print("signal", number, flush=True)
    time.sleep(0.3)
    print("bye", flush=True)
    sys.exit(128 + number)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
index = os.environ["JAX_PROCESS_ID"]
print("process", index, "of", os.environ["JAX_NUM_PROCESSES"], os.getpid(), flush=True)
ready = pathlib.Path(sys.argv[3])
if index != sys.argv[1]:
    (ready / index).touch()
while index != sys.argv[1] or len(list(ready.iterdir())) < 2:
    time.sleep(0.05)
sys.exit(int(sys.argv[2]))
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


def test_a_failure_ends_all(tmp_path: Path) -> None:
    process = _start("3", "--", sys.executable, "-c", POLITE, "1", "7", str(tmp_path))
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 7
    assert stdout.splitlines()[1:] == ["signal 15", "bye"]
    lines = stderr.splitlines()
    assert lines.count("error: process 1 ended with status 7") == 1
    assert [line for line in lines if line.startswith("[2]")][1:] == ["[2] signal 15", "[2] bye"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_to_all(number: signal.Signals, tmp_path: Path) -> None:
    process = _start("2", "--", sys.executable, "-c", POLITE, "none", "0", str(tmp_path))
    assert process.stdout is not None
    assert process.stderr is not None
    first, second = process.stdout.readline(), process.stderr.readline()
    assert first.startswith("process 0 of 2 ")
    assert second.startswith("[1] process 1 of 2 ")
    process.send_signal(number)
    assert process.wait(timeout=120) == 128 + number
    # Both processes have ended before.
    assert not any(Path(f"/proc/{line.split()[-1]}").exists() for line in (first, second))
    stdout, stderr = process.communicate()
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
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, timeout=120
    )
    assert result.returncode == 3
    assert result.stderr.startswith("error: process 1 ended with status 3\n")
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while child.is_file() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
