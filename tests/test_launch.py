"""The arguments of the scripts. Other tests cover the commands that the scripts run."""

import shutil
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
        (
            "quickstart",
            ["--workdir=gs://bucket/x"],
            1,
            "error: --workdir=gs://bucket/x: expected a local directory",
        ),
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


def _run_with_python(script: str, python: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script with an interpreter that is a shell script."""
    python.chmod(0o755)
    return subprocess.run(
        ["bash", f"launch/{script}.sh"],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    result = _run_with_python("quickstart", old, ROOT)
    assert result.returncode == 1
    assert result.stderr == f"error: {old} is not Python 3.11 or newer; set PYTHON=/path/to/one\n"


def test_an_installation_that_failed_is_not_taken_for_complete(tmp_path: Path) -> None:
    """The Python here makes a virtual environment, and its pip fails."""
    (tmp_path / "launch").mkdir()
    for name in ("launch/setup.sh", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        '*"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;\n'
        '*"pip install"*) echo "no network" >&2; exit 1 ;;\n'
        "esac\n"
    )
    result = _run_with_python("setup", python, tmp_path)
    assert result.returncode == 1
    assert result.stderr == "installing requirements.txt into .venv\nno network\n"
    assert not (tmp_path / ".venv" / "installed-requirements.txt").exists()
