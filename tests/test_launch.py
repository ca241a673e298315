"""The arguments of the scripts. Other tests cover the commands that the scripts run."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("script", "arguments", "status", "message"),
    [
        (
            "quickstart",
            ["--games=Pong"],
            1,
            "error: unknown argument --games=Pong; expected --work",
        ),
        ("quickstart", ["--game"], 1, "error: --game needs a value"),
        ("matrix", ["python3.13"], 2, "error: python3.13: expected PYTHON:JAX, such as python3.13"),
    ],
)
def test_bad_arguments(script: str, arguments: list[str], status: int, message: str) -> None:
    result = subprocess.run(
        ["bash", f"launch/{script}.sh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


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
