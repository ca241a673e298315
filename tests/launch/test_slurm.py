"""The sbatch scripts on a real SLURM: preemption, requeueing, sweeps. One cluster serves all tests.

Skipped where SLURM and munge are not installed, unless PVN_REQUIRE_SLURM is set.
"""

import getpass
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.xla import QUICK

ROOT = Path(__file__).parents[2]
SBIN = "/usr/sbin"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
TINY = (
    "--config.num_features=64",
    "--config.num_tasks=6",
    "--config.batch_size=8",
)
# One node that claims 8 CPUs. cred_expire is also the delay of a requeued job; KillWait is the time
# between SIGTERM and SIGKILL.
CONFIG = """
ClusterName=pvn
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
KillWait=20
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def _until(condition: Callable[[], object], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


class Slurm:
    """A running cluster. Its commands run in the root of the repository."""

    def __init__(self, environment: dict[str, str]):
        self.environment = environment

    def call(self, *command: str) -> str:
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def submit(self, log: Path, *arguments: str) -> str:
        """The id of the new job, which writes to `log`."""
        return self.call("sbatch", "--parsable", f"--output={log}", *arguments).strip()

    def fields(self, job: str) -> dict[str, str]:
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "show", "job", "-o", job)))

    def wait(self, *jobs: str) -> list[dict[str, str]]:
        """The fields of the jobs after their ends."""
        live = ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "CONFIGURING")
        _until(lambda: all(self.fields(job)["JobState"] not in live for job in jobs), f"end {jobs}")
        return [self.fields(job) for job in jobs]


@pytest.fixture(scope="module")
def slurm(compilations: Path) -> Iterator[Slurm]:
    path = f"{os.environ['PATH']}:{SBIN}"
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        reason = f"SLURM is not installed: found no {', '.join(missing)}"
        (pytest.fail if "PVN_REQUIRE_SLURM" in os.environ else pytest.skip)(reason)
    folder = Path(tempfile.mkdtemp(prefix="pvn-slurm-"))  # short: it holds a socket
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    text = CONFIG.format(
        folder=folder, host=socket.gethostname(), user=getpass.getuser(), ports=_free_ports(2)
    )
    (folder / "slurm.conf").write_text(text)
    environment = os.environ | {
        "XLA_FLAGS": QUICK,
        "PATH": path,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "JAX_COMPILATION_CACHE_DIR": str(compilations),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    daemons = []
    cluster = Slurm(environment)
    log = (folder / "daemons.log").open("w")
    try:
        for command in (
            [*munged, f"--socket={folder}/munge.socket"],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", "localhost"],
        ):
            daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            time.sleep(0.5)
        _until(lambda: "idle" in cluster.call("sinfo", "-h", "-o", "%T"), "idle node", 30)
        yield cluster
    except BaseException:
        print((folder / "daemons.log").read_text())
        raise
    finally:
        if len(daemons) == 3:
            cluster.call("scancel", f"--user={getpass.getuser()}")
            _until(lambda: not cluster.call("squeue", "-h"), "empty queue")
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()
        log.close()
        shutil.rmtree(folder)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _rows(workdir: Path) -> int:
    file = workdir / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def test_a_preempted_pretraining_of_two_tasks_ends_with_the_same_bits(
    slurm: Slurm, dataset: Path, tmp_path: Path
) -> None:
    def arguments(workdir: Path) -> list[str]:
        fields = ["--config.num_steps=300", "--config.log_every=30"]
        return [f"--config.dataset={dataset}", f"--workdir={workdir}", *TINY, *fields]

    workdir, log = tmp_path / "preempted", tmp_path / "log"
    command = [sys.executable, "-m", "pvn.pretrain", *arguments(tmp_path / "whole")]
    local = ["bash", "launch/local.sh", "2", "--", *command]
    with subprocess.Popen(local, cwd=ROOT, env=slurm.environment) as whole:
        job = slurm.submit(
            log, "--ntasks-per-node=2", "launch/slurm/pretrain.sbatch", *arguments(workdir)
        )
        _until(
            lambda: _rows(workdir) >= 2 or slurm.fields(job)["JobState"] == "FAILED", "second row"
        )
        assert slurm.fields(job)["JobState"] == "RUNNING", log.read_text()
        slurm.call("scontrol", "requeue", job)
        (end,) = slurm.wait(job)
    assert whole.returncode == 0

    text = log.read_text()
    assert (end["JobState"], end["ExitCode"], end["Restarts"]) == ("COMPLETED", "0:0", "1"), text
    (step,) = re.findall(r"saved at step (\d+)", text)  # the log of the first attempt is there
    assert 60 <= int(step) < 300
    first, second = (
        load_file(tmp_path / name / "features" / "model.safetensors")
        for name in ("preempted", "whole")
    )
    assert first.keys() == second.keys()
    for name, value in second.items():
        np.testing.assert_array_equal(first[name], value)


def test_a_sweep_runs_what_is_missing(slurm: Slurm, minatar: Path, tmp_path: Path) -> None:
    later, jobs = tmp_path / "collected later", tmp_path / "jobs.txt"
    common = " ".join([*TINY, "--config.num_steps=2", "--config.encoder=minatar"])
    evaluate = "pvn.evaluate --features=none --game=MinAtar/Breakout --config.eval_episodes=2"
    # The last job ends as a command does that is asked to stop; its second attempt succeeds.
    jobs.write_text(
        f"# seeds\n\npvn.pretrain --config.dataset={minatar} --workdir={tmp_path}/a {common}\n"
        f"pvn.pretrain --config.dataset='{later}' --workdir=\"{tmp_path}/b b\" {common}\n"
        f"{evaluate} --workdir={tmp_path}/c\n"
        f"sh -c 'test -f {tmp_path}/stopped || {{ touch {tmp_path}/stopped; exit 143; }}'\n"
    )

    def sweep(first: int, last: int) -> list[dict[str, str]]:
        array = f"--array={first}-{last}"
        job = slurm.submit(tmp_path / "log-%a", array, "launch/slurm/sweep.sbatch", str(jobs))
        return slurm.wait(*[f"{job}_{task}" for task in range(first, last + 1)])

    def log(task: int) -> str:
        return (tmp_path / f"log-{task}").read_text()

    ends = [(end["JobState"], end["Restarts"]) for end in sweep(0, 4)]
    assert ends == [
        *[("FAILED", "0"), ("COMPLETED", "0"), ("FAILED", "0"), ("COMPLETED", "0")],
        ("COMPLETED", "1"),
    ]
    assert log(4).count("asked to stop: requeueing job") == 1
    assert log(0) == f"error: {jobs} has 4 jobs; there is no job 0\n"
    assert (tmp_path / "a" / "features").is_dir()
    assert f"{later}: does not exist" in log(2)
    assert json.loads((tmp_path / "c" / "summary.json").read_text())

    later.symlink_to(minatar)
    assert [end["JobState"] for end in sweep(1, 4)] == ["COMPLETED"] * 4, log(2)
    assert (tmp_path / "b b" / "features").is_dir()
    assert [log(task).count("is finished: ") for task in range(1, 5)] == [1, 0, 1, 1]
    assert len(list((tmp_path / "jobs.txt.done").iterdir())) == 4


def test_a_job_from_the_wrong_folder_or_without_venv_fails_with_one_line(
    slurm: Slurm, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("launch", "requirements.txt"):
        (bare / name).symlink_to(ROOT / name)
    script = "launch/slurm/pretrain.sbatch"
    jobs = [
        slurm.submit(folder / "log", f"--chdir={folder}", script) for folder in (tmp_path, bare)
    ]
    assert [end["JobState"] for end in slurm.wait(*jobs)] == ["FAILED"] * 2
    assert (
        tmp_path / "log"
    ).read_text() == f"error: {tmp_path} is not the root of the repository\n"
    lacks = (
        f"error: {bare}/.venv lacks requirements; run 'bash launch/setup.sh' on the login node\n"
    )
    assert (bare / "log").read_text() == lacks
