"""Lists of jobs: their stages, their format, and the commands that submit them."""

import shlex
import subprocess
from pathlib import Path

from pvn.suite.lists import job_line, lists_of, stages, submission
from tests.suite.cells import make_cell

ROOT = Path(__file__).parents[2]


def test_lists_are_those_of_the_launch_scripts(tmp_path: Path) -> None:
    workdir = f"{tmp_path}/with 'quotes' and blanks"
    cells = [make_cell(workdir, "a"), make_cell(workdir, "d"), make_cell(workdir, "b", "a")]
    cells.append(make_cell(workdir, "c", "d", "b"))
    found = stages(cells)
    assert [[cell.name for cell in stage] for stage in found] == [["a", "d"], ["b"], ["c"]]
    assert shlex.split(job_line(cells[0])) == list(cells[0].command)
    file = tmp_path / "stage 1.txt"
    file.write_text("".join(f"{job_line(cell)}\n" for cell in found[0]))
    code = 'python="$1"; source launch/jobs.sh; split_words "$2" "$(jobs_of "$2" | sed -n 1p)"'
    split = subprocess.run(
        ["bash", "-c", code, "bash", "python3", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert split.stdout.split("\0")[:-1] == list(found[0][0].command)


def test_a_stage_is_split_into_arrays_that_slurm_takes(tmp_path: Path) -> None:
    cells = [make_cell("w", f"a{n}") for n in range(2001)]
    cells += [make_cell("w", f"b{n}", "a0") for n in range(1000)]
    cells += [make_cell("w", "c", "b0")]
    found = lists_of(cells)
    sizes = [{name: len(listed) for name, listed in stage.items()} for stage in found]
    assert sizes == [
        {"stage_1_1": 1000, "stage_1_2": 1000, "stage_1_3": 1},
        {"stage_2": 1000},
        {"stage_3": 1},
    ]
    assert [cell for stage in found for listed in stage.values() for cell in listed] == cells

    files = []
    for stage in found:
        files.append({name: f"{tmp_path}/its {name}.txt" for name in stage})
        for name, listed in stage.items():
            Path(files[-1][name]).write_text("".join(f"{job_line(cell)}\n" for cell in listed))
    # In the place of SLURM: shows what it gets, and answers with an id.
    sbatch = 'sbatch() { printf "%s\\n" "$*" >&2; n="$*"; n=${n##*stage_}; echo "id${n%.txt}"; }\n'
    submitted = subprocess.run(
        ["bash", "-euc", sbatch + submission(files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    sweep = f"launch/slurm/sweep.sbatch {tmp_path}/its stage"
    assert submitted.splitlines() == [
        f"--parsable --array=1-1000 {sweep}_1_1.txt",
        f"--parsable --array=1-1000 {sweep}_1_2.txt",
        f"--parsable --array=1-1 {sweep}_1_3.txt",
        f"--parsable --dependency=afterany:id1_1:id1_2:id1_3 --array=1-1000 {sweep}_2.txt",
        f"--parsable --dependency=afterany:id2 --array=1-1 {sweep}_3.txt",
    ]
