"""The cells as lists of jobs, one list a stage, in the format of launch/jobs.sh."""

import shlex
from collections.abc import Mapping, Sequence

from pvn.suite.cells import Cell

MOST_JOBS = 1000  # in an array: SLURM's MaxArraySize is 1001 by default, and indices begin at 1


def stages(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in stages: each needs only cells of earlier stages.

    cells: needed cells come before the cells that need them.
    """
    depth: dict[str, int] = {}
    for cell in cells:
        depth[cell.name] = 1 + max((depth[name] for name in cell.needs), default=-1)
    last = max(depth.values(), default=-1)
    return [[cell for cell in cells if depth[cell.name] == n] for n in range(last + 1)]


def job_line(cell: Cell) -> str:
    """The command of a cell as a line of a list."""
    return shlex.join(cell.command)


def lists_of(cells: Sequence[Cell]) -> list[dict[str, Sequence[Cell]]]:
    """For each stage, the names of its lists, with at most `MOST_JOBS` cells each."""
    found: list[dict[str, Sequence[Cell]]] = []
    for number, stage in enumerate(stages(cells), 1):
        parts = [stage[i : i + MOST_JOBS] for i in range(0, len(stage), MOST_JOBS)]
        found.append(
            {f"stage_{number}_{part}": listed for part, listed in enumerate(parts, 1)}
            if len(parts) > 1
            else {f"stage_{number}": parts[0]}
        )
    return found


def submission(files: Sequence[Mapping[str, str]]) -> str:
    """The shell commands that submit the lists of all stages to SLURM.

    files: name -> file of the lists of each stage. An array waits until all of the stage before
      have ended.
    """
    lines: list[str] = []
    before: list[str] = []
    for stage in files:
        ids = "".join(f':"${name}"' for name in before)
        after = f" --dependency=afterany{ids}" if before else ""
        for name, file in stage.items():
            lines.append(
                f"{name}=$(sbatch --parsable{after} "
                f'--array=1-"$(bash launch/sweep.sh --count {shlex.quote(file)})" '
                f"launch/slurm/sweep.sbatch {shlex.quote(file)})"
            )
        before = list(stage)
    return "\n".join(lines)
