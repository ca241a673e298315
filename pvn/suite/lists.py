"""The cells as lists of jobs, one list a stage, in the format of launch/jobs.sh."""

import shlex
from collections.abc import Sequence

from pvn.suite.cells import Cell


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


def submission(files: Sequence[str]) -> str:
    """The shell commands that submit the lists of all stages to SLURM."""
    lines = []
    for number, file in enumerate(files):
        after = ' --dependency=afterany:"$id"' if number else ""
        lines.append(
            f'id=$(sbatch --parsable{after} --array=1-"$(bash launch/sweep.sh --count '
            f'{shlex.quote(file)})" launch/slurm/sweep.sbatch {shlex.quote(file)})'
        )
    return "\n".join(lines)
