"""The machine that a command runs on: its processor, cores and memory."""

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path


def machine() -> dict[str, str]:
    """The processor, and how many of its cores this process may use.

    On a CPU the last bits of results depend on both: XLA divides sums over the cores.
    """
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        processor = found.group(1) if found else processor
    return {"processor": processor, "cores": str(len(usable_cores()))}


def usable_cores() -> list[int]:
    """The cores that this process may use; a job may have fewer than the machine."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def usable_memory() -> int:
    """Bytes of the machine's memory, or what a control group allows, as of a job or a container."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *group_limits()])


def group_limits(root: Path = Path("/")) -> Iterator[int]:
    """Bytes that the control groups of this process may use, where they have a limit.

    root: of the file system; it has proc/self/cgroup and sys/fs/cgroup on Linux.
    """
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        # A container may not see its own group, but it sees the limit as that of the top.
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):
                yield int((folder / name).read_text())
            if folder == top:
                break
