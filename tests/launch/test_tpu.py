"""launch/tpu without a TPU: its arguments, the commands it would run, and their quoting."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKDIR = "--workdir=gs://bucket/runs/pong"


def _pretrain(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "launch/tpu/pretrain.sh", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_dry_run_prints_the_commands(tmp_path: Path) -> None:
    odd = r"""--x=a  b "c" 'd' \e $HOME * &"""
    result = _pretrain(
        "--dry_run", WORKDIR, odd, PROJECT="p", ZONE="z", TPU_NAME="slice", CREATE_FLAGS="--spot"
    )
    assert result.returncode == 0, result.stderr
    create, archive, copy, install, train = map(shlex.split, result.stdout.splitlines())
    gcloud, place = ["gcloud", "compute", "tpus", "tpu-vm"], ["--project=p", "--zone=z"]
    kind = ["--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite"]
    assert create == [*gcloud, "create", "slice", *kind, "--spot", *place]
    assert archive[:2] == ["git", "archive"]
    file = archive[2].removeprefix("--output=")
    assert archive[3:] == ["HEAD"]
    assert copy == [*gcloud, "scp", file, "slice:pvn.tar.gz", "--worker=all", *place]
    assert train[:7] == install[:7] == [*gcloud, "ssh", "slice", "--worker=all"]
    assert train[8:] == install[8:] == place
    assert result.stderr == (
        "to delete the slice: "
        "gcloud compute tpus tpu-vm delete slice --project=p --zone=z --quiet\n"
    )
    subprocess.run(["bash", "-n", "-c", install[7].removeprefix("--command=")], check=True)
    # The command arrives in a home folder of a host. Its Python only prints what it is given.
    python = tmp_path / "pvn" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    command = ["bash", "-c", train[7].removeprefix("--command=")]
    there = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert there.stdout.splitlines() == ["-m", "pvn.pretrain", WORKDIR, odd]


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([WORKDIR], {"PROJECT": ""}, "PROJECT: not set, expected a project of Google Cloud"),
        ([WORKDIR], {"ZONE": ""}, "ZONE: not set, expected a zone that has TPUs"),
        ([], {}, "--workdir: expected a folder on gs://"),
        (["--workdir=runs/pong"], {}, "--workdir: expected a folder on gs://"),
        ([WORKDIR, "--dry_run"], {}, "--dry_run: comes first, to print the commands"),
    ],
)
def test_bad_input(arguments: list[str], variables: dict[str, str], message: str) -> None:
    result = _pretrain(*arguments, **({"PROJECT": "p", "ZONE": "z"} | variables))
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(rf"error: {re.escape(message)}.*\n", result.stderr)


def test_without_gcloud(tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    result = _pretrain(WORKDIR, PROJECT="p", ZONE="z", PATH=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == "error: gcloud: not found; install the Google Cloud CLI\n"
