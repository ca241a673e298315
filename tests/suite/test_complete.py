"""What says that a cell is complete knows the defaults of the commands."""

import subprocess
import sys

import pytest

from pvn.suite.complete import DEFAULTS


@pytest.mark.parametrize(
    ("command", "names"), [("collect", ["num_steps"]), ("probe", ["targets", "diagnostics"])]
)
def test_the_defaults_are_those_of_the_commands(command: str, names: list[str]) -> None:
    code = (
        f"import pvn.{command}; from absl import flags; "
        f"print(*(flags.FLAGS[name].default_as_str.strip(chr(39)) for name in {names}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == [DEFAULTS[name] for name in names]
