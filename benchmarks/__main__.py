"""Runs the benchmarks, and writes their figures into the tables of the documentation.

    python -m benchmarks                        # all of them: two hours on 2 idle cores
    python -m benchmarks --only=heads,floor
    python -m benchmarks --only=                # runs none, and writes the tables again

Run it on a machine that does nothing else. The rows of a benchmark's last run are kept in
benchmarks/figures/, with the date, the machine and the versions. `benchmarks.tables` says how each
is run, and makes the tables.
"""

from absl import flags

from benchmarks.tables import COMMANDS, run_benchmark, write_tables
from pvn.errors import UserError
from pvn.runs import console

_ONLY = flags.DEFINE_list("only", list(COMMANDS), "Benchmarks to run.")


def main() -> int:
    for name in _ONLY.value:
        if name not in COMMANDS:
            raise UserError(f"--only: {name}, expected some of {', '.join(COMMANDS)}")
    failed = []
    for name in _ONLY.value:
        console.say(f"{name}: python -m {COMMANDS[name]}")
        try:
            run_benchmark(name, COMMANDS[name])
        except UserError as error:  # the others can still run
            console.say(str(error))
            failed.append(name)
    write_tables()
    if failed:
        raise UserError(f"benchmarks: {', '.join(failed)} failed, see above")
    return 0


if __name__ == "__main__":
    console.run(main)
