"""Becomes another program, which gets SIGTERM when the process that started it dies (on Linux).

    python pvn/suite/follow.py PARENT CORES PROGRAM ARGUMENT...

PARENT is the process id of the starter. CORES are the numbers of the cores that the program may use
(on Linux), comma-separated; empty: those of the starter. This is a program of its own because only
a process itself can ask for that signal; Python code between fork and exec is not safe beside
threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def main(parent: int, cores: str, words: list[str]) -> None:
    """Replaces this process by the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it could be followed
            sys.exit(128 + signal.SIGTERM)
        if cores:
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
