"""What malloc does after `keep_freed_memory`, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Allocates and frees 64 MiB in a thread, as XLA does, and counts the pages that the system maps.
CODE = """
import ctypes, platform, resource, threading
from pvn.pretraining.allocation import keep_freed_memory

if platform.libc_ver()[0] != "glibc":
    print("no glibc")
    raise SystemExit
keep_freed_memory({sizes})
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def use():
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)

def use_often():
    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        use()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=use_often)
thread.start()
thread.join()
"""
PAGES = 4 * 2**26 // 2**21  # at least: with the largest pages that Linux chooses by itself


@pytest.mark.parametrize(
    ("sizes", "environment", "kept"),
    [
        ("1000, 512, 32", {}, True),
        ("100, 512, 256", {}, True),
        ("100, 512, 32", {}, False),
        ("1000, 512, 32", {"MALLOC_TOP_PAD_": "0"}, False),
    ],
)
def test_memory_of_large_steps_is_kept(sizes: str, environment: dict[str, str], kept: bool) -> None:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(sizes=sizes)],
        cwd=Path(__file__).parents[2],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    if result.stdout == "no glibc\n":
        pytest.skip("only glibc has these settings")
    mapped = int(result.stdout)
    assert mapped < PAGES / 2 if kept else mapped >= PAGES
