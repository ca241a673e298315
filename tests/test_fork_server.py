import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.mark.parametrize("command", [["json.tool", "--help"], ["json.tool", "gone"], ["this"]])
def test_a_fork_says_what_a_process_says(run: Callable, command: list[str]) -> None:
    expected = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )
    found = run(*command)
    assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)
    assert found.stderr.splitlines()[-1:] == expected.stderr.splitlines()[-1:]
    assert len(found.stdout + found.stderr) > 50


def test_a_fork_that_does_not_end_is_killed(run: Callable) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run("http.server", "0", timeout=1)
    assert run("this").returncode == 0
