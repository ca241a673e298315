"""Commands with datasets and runs on gs://, which a server on this machine stands for."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pvn
from pvn.errors import UserError
from pvn.runs.run_directory import lock_workdir, open_run
from pvn.storage.files import write_whole
from pvn.storage.lease import Lease
from tests.gcs import BUCKET, Server
from tests.output import without_dead
from tests.test_processes import free_port

DATA, RUN, GAME = "gs://bucket/data", "gs://bucket/runs/pong", "MinAtar/Breakout"
TINY = (
    *("--config.num_tasks=8", "--config.num_features=16", "--config.batch_size=8"),
    *("--config.encoder=minatar", "--config.log_every=15"),
    *("--config.checkpoint_every=5", "--config.num_steps=30", f"--config.dataset={DATA}"),
)

# pvn.pretrain with a lock that is free 5 s after its holder was killed, not 30 s.
IMPATIENT = """
from functools import partial
from pvn.runs import console, run_directory
from pvn.storage import lease
from pvn import pretrain
run_directory.Lease = partial(lease.Lease, beat=1.0, watch=5.0)
console.run(pretrain.main)
"""


def lines(stderr: str) -> list[str]:
    """Lines of stderr, without tensorstore's of the account and those of dead units and tasks."""
    said = without_dead(stderr).splitlines()
    return [line for line in said if "google_auth_provider" not in line]


@pytest.fixture(scope="module")
def data(gcs: Server, run: Callable) -> None:
    """2,500 steps of MinAtar's Breakout on gs://, by two commands."""
    for count in (600, 2500):
        done = run("pvn.collect", f"--game={GAME}", f"--num_steps={count}", f"--dataset={DATA}")
        assert (done.returncode, lines(done.stderr)) == (
            0,
            [f"{DATA}: {count:,} steps of {GAME}"],
        )


@pytest.fixture(scope="module")
def local(
    gcs: Server,
    data: None,
    run: Callable,
    start: Callable,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A local run without interruption, beside the same run on gs://, killed and resumed."""
    scripts = tmp_path_factory.mktemp("scripts")
    (scripts / "impatient.py").write_text(IMPATIENT)

    def begin() -> subprocess.Popen[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(scripts))
            return start("impatient", *TINY, f"--workdir={RUN}")

    process = begin()
    while not gcs.names("runs/pong/checkpoints/step_0000000005/manifest.json"):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not gcs.names("runs/pong/checkpoints/step_0000000030/")
    resumed = begin()
    folder = tmp_path_factory.mktemp("gs") / "run"
    done = run("pvn.pretrain", *TINY, f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    _, said = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, said
    alive, resumes, last = lines(said)
    assert alive.startswith(f"{RUN}: process {process.pid} on host ")
    assert resumes.startswith(f"{RUN}: resumes at step ")
    assert last == f"{RUN}: 30 steps; features in {RUN}/features"
    return folder


def get(gcs: Server, name: str) -> bytes:
    return gcs.storage.get_file(BUCKET, name)


def test_a_killed_run_resumes_to_the_bytes_of_a_local_one(gcs: Server, local: Path) -> None:
    name = "features/model.safetensors"
    assert get(gcs, f"runs/pong/{name}") == (local / name).read_bytes()
    found = json.loads(get(gcs, "runs/pong/features/features.json"))
    expected = json.loads((local / "features" / "features.json").read_text())
    assert found | {"command": ""} == expected | {"command": ""}
    names = gcs.names("runs/pong/")
    assert ".lock" not in names
    seals = [name for name in names if name.endswith("manifest.json")]
    assert seals == [f"checkpoints/step_{step:010}/manifest.json" for step in (25, 30)]
    assert {name.split("/")[1] for name in names if name.startswith("checkpoints/")} == {
        *("step_0000000025", "step_0000000030")
    }
    rows = [json.loads(line) for line in get(gcs, "runs/pong/metrics.jsonl").splitlines()]
    expected = [json.loads(line) for line in (local / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [15, 30]
    for name in ("loss", "explained_variance", "feature_rank"):
        assert [row[name] for row in rows] == [row[name] for row in expected]
    assert len([name for name in names if name.startswith("tensorboard/")]) == 2


def test_two_processes_without_a_shared_disk(gcs: Server, data: None, start: Callable) -> None:
    flags = [*TINY, "--config.num_steps=10", "--workdir=gs://bucket/runs/two"]
    process = (2, free_port(), 1)
    first, second = (start("pvn.pretrain", *flags, process=(rank, *process)) for rank in (0, 1))
    said = [each.communicate(timeout=200)[1] for each in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    names = gcs.names("runs/two/")
    assert {"features/features.json", "responses/key.json", "responses/c/0/0"} <= set(names)
    assert [n for n in names if n.endswith("manifest.json")] == [
        f"checkpoints/step_{step:010}/manifest.json" for step in (5, 10)
    ]


def test_features(gcs: Server, local: Path) -> None:
    observation = np.arange(2 * 10 * 10 * 4, dtype=np.uint8).reshape(2, 10, 10, 4)
    expected = pvn.load_features(local)(observation)
    for path in (RUN, f"{RUN}/features"):
        np.testing.assert_array_equal(pvn.load_features(path)(observation), expected)
    baseline = pvn.random_features(like=RUN)
    assert baseline.metadata["num_features"] == 16
    with pytest.raises(UserError, match=r"^features gs://bucket/none: no features\.json there or"):
        pvn.load_features("gs://bucket/none")


def test_evaluation_and_report(gcs: Server, local: Path, run: Callable, start: Callable) -> None:
    head = ("--config.head=dqn", "--config.num_envs=2", "--config.num_steps=200")
    small = ("--config.learn_after=100", "--config.eval_episodes=2", "--config.n_step=1")
    evaluation = ("pvn.evaluate", *head, *small, f"--features={RUN}", f"--workdir={RUN}/eval")
    process = start(*evaluation)
    while not any(name.endswith(".json") for name in gcs.names("runs/pong/eval/checkpoints/")):
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "saved at agent step 2" in said) == (143, True)
    done = run(*evaluation)
    assert done.returncode == 0, done.stderr
    assert "resumes at agent step 2" in done.stderr
    assert gcs.names("runs/pong/eval/checkpoints/") == []
    assert f"{RUN}/eval: pvn on {GAME}, mean episode return" in done.stderr
    probe = ("pvn.probe", f"--features={RUN}", f"--dataset={DATA}", "--workdir=gs://bucket/probe")
    done = run(*probe, "--max_rows=1000")
    assert done.returncode == 0, done.stderr
    inputs, report = f"--inputs={RUN}/eval,gs://bucket/probe", "gs://bucket/report"
    done = run("pvn.report", inputs, f"--workdir={report}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"{report}/report.md", f"{report}/report.html"]
    page = get(gcs, "report/report.md").decode()
    assert f"{RUN}/eval" in page
    assert "PVN features" in page
    play = (f"--game={GAME}", f"--policy={RUN}/eval", "--num_steps=20")
    done = run("pvn.collect", *play, "--dataset=gs://bucket/played")
    assert (done.returncode, lines(done.stderr)) == (
        0,
        [f"gs://bucket/played: 20 steps of {GAME}"],
    )


def test_a_corrupt_checkpoint(gcs: Server, local: Path, run: Callable) -> None:
    name = "runs/pong/checkpoints/step_0000000030/state.npz"
    broken = bytearray(get(gcs, name))
    broken[len(broken) // 2] ^= 1
    gcs.storage.create_file(BUCKET, name, bytes(broken), gcs.storage.get_file_obj(BUCKET, name))
    done = run("pvn.pretrain", *TINY, f"--workdir={RUN}")
    assert done.returncode == 0, done.stderr
    assert lines(done.stderr) == [
        f"checkpoint {RUN}/checkpoints/step_0000000030: passed over, its file state.npz is corrupt",
        f"{RUN}: resumes at step 25",
        f"{RUN}: 30 steps; features in {RUN}/features",
    ]
    model = "features/model.safetensors"
    assert get(gcs, f"runs/pong/{model}") == (local / model).read_bytes()


def test_the_dataset_command(gcs: Server, data: None, run: Callable) -> None:
    done = run("pvn.dataset", "verify", DATA)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{DATA}: 2,500 rows, every checksum and rule holds\n"
    done = run("pvn.dataset", "info", DATA)
    assert done.returncode == 0, done.stderr
    assert "on disk:     -\n" in done.stdout


def test_one_command_at_a_time(
    gcs: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pvn.runs.run_directory.Lease", partial(Lease, beat=0.5))
    path, me = "gs://bucket/locked", f"process {os.getpid()} on host {socket.gethostname()}"
    with lock_workdir(path) as place:
        with pytest.raises(UserError) as caught, lock_workdir(path):
            pass
        place.push()
    assert str(caught.value) == (
        f"--workdir={path}: another command is at work there ({me}); wait for its end, or name "
        "another --workdir"
    )
    assert capsys.readouterr().err == f"{path}: {me} has locked it; is it alive?\n"
    assert not place.workdir.exists()


def test_another_config_and_overwriting(gcs: Server) -> None:
    path = "gs://bucket/config"

    def opened(seed: int, overwrite: bool = False) -> None:
        with open_run(path, "test", {"seed": seed}, overwrite=overwrite, owns=("a",)) as run:
            assert not (run.workdir / "a").exists()
            write_whole(run.workdir / "a", str(seed))
            write_whole(run.workdir / "note", "mine")
            run.check_held()
            run.push("a", "note")

    opened(1)
    with pytest.raises(UserError, match=f"^--workdir={path}: holds a run with another config: see"):
        opened(2)
    assert (get(gcs, "config/a"), gcs.names("config/")) == (
        *(b"1", ["a", "config.json", "note", "run.json"]),
    )
    gcs.changes.clear()
    opened(2, overwrite=True)
    assert ("DELETE", "config/a") in gcs.changes
    assert ("DELETE", "config/note") not in gcs.changes
    assert get(gcs, "config/a") == b"2"
