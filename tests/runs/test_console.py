"""Error messages of one line, on any machine and in any locale."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pvn.errors import UserError
from pvn.runs import console

ROOT = Path(__file__).parents[2]
TINY = [
    "--config.num_features=32",
    "--config.num_tasks=4",
]


def test_an_accelerator_that_is_not_there(
    run: Callable, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    result = run("pvn.pretrain", f"--config.dataset={dataset}", f"--workdir={tmp_path}/run")
    assert result.returncode == 1
    assert result.stderr == (
        "error: JAX_PLATFORMS=cuda: JAX finds no such device; unset it, or set it to cpu\n"
    )


def test_a_network_larger_than_memory(run: Callable, dataset: Path, tmp_path: Path) -> None:
    result = run(
        "pvn.pretrain",
        f"--config.dataset={dataset}",
        f"--workdir={tmp_path}/run",
        *TINY,
        "--config.num_features=50000000",
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: out of memory (Out of memory allocating "), result
    assert result.stderr.endswith(
        "; lower config.batch_size, config.num_tasks, config.num_features or "
        "config.data_memory_gib\n"
    )
    assert result.stderr.count("\n") == 1


def test_paths_that_the_locale_cannot_spell(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONUTF8", "0")
    data, workdir = tmp_path / "dätä", tmp_path / "rün"
    result = run("pvn.collect", "--game=Pong", "--num_steps=200", f"--dataset={data}")
    assert result.returncode == 0, result.stderr
    command = ["pvn.pretrain", f"--config.dataset={data}", f"--workdir={workdir}", *TINY]
    result = run(*command, "--config.batch_size=4", "--config.num_steps=2")
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "config.json").read_text("utf-8"))["dataset"] == str(data)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            ["pvn.collect", "--dataset=x", "--seed=2147483648"],
            "--seed: 2147483648, expected a whole number, from 0 to 2147483647",
        ),
        (
            ["pvn.probe", "--features=random", "--dataset=x", "--workdir=y", "--seed=-1"],
            "--seed: -1, expected a whole number, from 0 to 2147483647",
        ),
        (
            ["pvn.probe", "--features=random", "--dataset=x", "--workdir=y", "--seed=one"],
            "--seed: 'one', expected a whole number, from 0 to 2147483647",
        ),
        (
            ["pvn.tabular", "--workdir=y", f"--config.mdp_seed={2**31}"],
            "config.mdp_seed: 2147483648, expected a whole number, from 0 to 2147483647",
        ),
        (["pvn.collect", "--dataset=s3://b/x"], "--dataset=s3://b/x: expected a local path or gs:"),
        (["pvn.dataset", "info", ""], "DIR: is empty, expected a directory"),
        (["pvn.report", "--inputs=a,./a/", "--workdir=y"], "--inputs: names a twice, expected"),
    ],
)
def test_seeds_and_paths_of_every_command(run: Callable, command: list[str], line: str) -> None:
    result = run(*command)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {line}"), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


def test_lines_for_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    for error, line in [
        (UserError("x"), "x"),
        (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("nothing known of it"), None),
        (MemoryError(), "out of memory; lower --x"),
        (MemoryError("of 5 GiB."), "out of memory (of 5 GiB); lower --x"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.\nmore"),
            "out of memory (Out of memory allocating 7 bytes); lower --x",
        ),
        (AssertionError(), None),
        (RuntimeError("a mistake of ours"), None),
    ]:
        assert console.error_line(error, "--x") == line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1", "AttributeError(\"module 'config_config' has no attribute 'get_config'\")"),
        ("import nonexisting", "line 1: ModuleNotFoundError(\"No module named 'nonexisting'\")"),
        (
            "def get_config():\n    return fields()\ndef fields():\n    raise KeyError('a')",
            "line 4: KeyError('a')",
        ),
        ("get_config = dict", "AttributeError(\"'dict' object has no attribute 'to_dict'\")"),
        ("get_config = lambda: open('/no')", "[Errno 2] No such file or directory: '/no'"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--config.a=1"]])
def test_a_config_that_cannot_be_loaded(
    run: Callable, tmp_path: Path, text: str, reason: str, more: list[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    result = run("pvn.pretrain", f"--config={file}", "--workdir=x", *more)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: --config={file}: cannot be loaded ({reason}), expected a Python file whose "
        "get_config() returns an ml_collections.ConfigDict\n"
    )


def test_a_full_disk_leaves_no_temporary_folder(tmp_path: Path) -> None:
    """The process then ends without Python's usual end."""
    code = """
import errno, os
from pvn.runs import console
from pvn.storage.remote import temporary_folder

def main():
    (temporary_folder() / "copy").write_bytes(bytes(10))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

console.run(main)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (1, "error: x: No space left on device\n")
    assert not list(tmp_path.iterdir())


def test_the_time_between_lines_of_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PVN_PROGRESS_SECONDS", "often")
    line = "^PVN_PROGRESS_SECONDS=often: expected a number of seconds$"
    with pytest.raises(UserError, match=line):
        console.progress(1, "steps", "x")


def test_an_unknown_field_of_a_section_is_named_whole(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "nested.py").write_text(
        "import ml_collections\n"
        "def get_config():\n"
        "    return ml_collections.ConfigDict({'dqn': {'rate': 0.5}, 'fqi': {'period': 4}})\n"
    )
    for flag, line in [
        ("--config.dqn.rat=1", "config.dqn.rat: there is no such field; did you mean rate?"),
        ("--config.fqi.rate=1", "config.fqi.rate: there is no such field; expected period\n"),
        ("--config.dqm.rate=1", "config.dqm: there is no such field; did you mean dqn?\n"),
    ]:
        result = run(
            "pvn.pretrain", f"--config={tmp_path}/nested.py", "--config.dqn.rate=1", flag,
            "--workdir=x",
        )  # fmt: skip
        assert result.returncode == 1
        assert result.stderr.startswith(f"error: {line}"), result.stderr
        assert result.stderr.count("\n") == 1, result.stderr


def test_a_signal_within_a_second_is_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `timeout` sends it: to the process, then to its group."""

    class Ended(Exception):
        pass

    def end(number: int, frame: object) -> None:
        raise Ended

    now = 100.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    before = signal.signal(signal.SIGINT, end)
    with console.orderly_stop() as stop:
        assert (bool(stop), stop.status) == (False, 0)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert (bool(stop), stop.status) == (True, 130)
        now = 101.5
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
