"""Runs the benchmarks, and writes their figures into the tables of the documentation.

    python -m benchmarks                        # all of them: two hours on 2 idle cores
    python -m benchmarks --only=heads,floor
    python -m benchmarks --only=                # runs none, and writes the tables again

Run it on a machine that does nothing else. The rows of a benchmark's last run are kept in
benchmarks/figures/, with the date, the machine and the versions. `benchmarks.tables` says how each
is run, and makes the tables.
"""

import subprocess
import sys

from absl import flags

from benchmarks.tables import COMMANDS, DOCUMENTS, FIGURES, ROOT, read_figures, write_tables
from pvn import console
from pvn.errors import UserError
from pvn.files import write_whole

_ONLY = flags.DEFINE_list("only", list(COMMANDS), "Benchmarks to run.")


def run(name: str) -> None:
    """Runs a benchmark and keeps its figures.

    Raises:
      UserError: it failed; the figures of its last run stay.
    """
    console.say(f"{name}: python -m {COMMANDS[name]}")
    command = [sys.executable, "-m", *COMMANDS[name].split()]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise UserError(f"benchmarks {name}: ended with status {result.returncode}")
    write_whole(FIGURES / f"{name}.jsonl", result.stdout)


def main() -> int:
    for name in _ONLY.value:
        if name not in COMMANDS:
            raise UserError(f"--only: {name}, expected some of {', '.join(COMMANDS)}")
    try:
        for name in _ONLY.value:
            run(name)
    finally:  # the figures of those that ran
        figures = read_figures()
        for document in DOCUMENTS:
            file = ROOT / document
            write_whole(file, write_tables(file.read_text(), figures))
    return 0


if __name__ == "__main__":
    console.run(main)
