"""The arguments of the scripts. Other tests cover the commands that the scripts run."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--games=Pong"], "error: unknown argument --games=Pong; expected --workdir=DIR or"),
        (["--game"], "error: --game needs a value"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    result = subprocess.run(
        ["bash", "launch/quickstart.sh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "All tests with several versions of Python and JAX"),
        (["python3.13"], "error: python3.13: expected PYTHON:JAX, such as python3.13:0.12.0.1\n"),
    ],
)
def test_bad_versions(arguments: list[str], message: str) -> None:
    result = subprocess.run(
        ["bash", "launch/matrix.sh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(message)


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = subprocess.run(
        ["bash", "launch/quickstart.sh"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == f"error: {old} is not Python 3.11 or newer; set PYTHON=/path/to/one\n"
