from pathlib import Path

import pytest

from pvn.machine import group_limits, usable_memory


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        # SLURM's job and step: the job has the limit.
        (
            "0::/slurm/job_7/step_0\n",
            {"slurm/job_7/step_0/memory.max": "max\n", "slurm/job_7/memory.max": "4096\n"},
            [4096],
        ),
        # A container sees the top only.
        ("0::/kubepods/pod9\n", {"memory.max": "8192\n"}, [8192]),
        # Version 1.
        (
            "9:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n",
            {"memory/a/b/memory.limit_in_bytes": "100\n", "memory/memory.limit_in_bytes": "200\n"},
            [100, 200],
        ),
        ("0::/\n", {}, []),
    ],
)
def test_limits_of_control_groups(
    tmp_path: Path, groups: str, files: dict[str, str], expected: list[int]
) -> None:
    write(tmp_path / "proc/self/cgroup", groups)
    for name, text in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, text)
    assert list(group_limits(tmp_path)) == expected


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert list(group_limits(tmp_path)) == []


def test_the_usable_memory_is_at_most_that_of_the_machine() -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = 1024 * int(next(line for line in lines if line.startswith("MemTotal:")).split()[1])
    assert 2**28 < usable_memory() <= total
