"""A workdir holds one run of one command at a time. Tests run the real commands."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from pvn.errors import UserError
from pvn.evaluation.records import EpisodeRow, to_json
from pvn.learning.checkpoint import save_checkpoint
from pvn.machine import machine
from pvn.runs.metrics import MetricsWriter
from pvn.runs.run_directory import open_run, versions
from tests.output import without_dead

TINY = [
    "--config.num_features=32",
    "--config.num_tasks=4",
    "--config.batch_size=4",
    "--config.log_every=5",
    "--config.checkpoint_every=5",
]


def arguments(dataset: Path, workdir: Path, *more: str) -> list[str]:
    return ["pvn.pretrain", f"--config.dataset={dataset}", f"--workdir={workdir}", *TINY, *more]


@pytest.fixture
def at_work(start: Callable, dataset: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A long run with seed 0 in tmp_path/run that has saved a checkpoint."""
    workdir = tmp_path / "run"
    process = start(*arguments(dataset, workdir, "--config.num_steps=100000"))
    while not (workdir / "features" / "features.json").is_file() and process.poll() is None:
        time.sleep(0.01)
    yield process
    process.kill()
    process.communicate()


def test_a_second_command_is_refused_until_the_first_is_gone(
    run: Callable, dataset: Path, tmp_path: Path, at_work: subprocess.Popen[str]
) -> None:
    workdir = tmp_path / "run"
    refused = (
        f"error: --workdir={workdir}: another command is at work there (process {at_work.pid} on "
        f"host {os.uname().nodename}); wait for its end, or name another --workdir\n"
    )
    other_seed = arguments(dataset, workdir, "--config.num_steps=5", "--config.seed=1")
    result = run(*other_seed, "--overwrite")
    assert (result.returncode, result.stderr) == (1, refused)
    result = run("pvn.report", f"--inputs={_scores(tmp_path)}", f"--workdir={workdir}")
    assert (result.returncode, result.stderr) == (1, refused)
    assert at_work.poll() is None
    assert json.loads((workdir / "config.json").read_text())["seed"] == 0

    at_work.send_signal(signal.SIGKILL)
    at_work.wait()
    result = run(*other_seed, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert json.loads((workdir / "config.json").read_text())["seed"] == 1
    names = [path.name for path in (workdir / "checkpoints").iterdir()]
    assert names == ["step_0000000005"]
    assert not (workdir / ".lock").exists()


def _scores(tmp_path: Path) -> Path:
    """A directory that a report can be made of."""
    folder = tmp_path / "scores"
    folder.mkdir()
    row = EpisodeRow("Pong", "pvn", "fqi", 0, "eval", 0, 1.0, 5)
    (folder / "scores.jsonl").write_text(to_json(row) + "\n")
    return folder


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_job_whose_run_was_taken_away_stops(
    tmp_path: Path, at_work: subprocess.Popen[str], how: str
) -> None:
    workdir = tmp_path / "run"
    _take_away(workdir, how)
    _, stderr = at_work.communicate(timeout=60)
    assert at_work.returncode == 1
    assert without_dead(stderr) == f"error: {_gone(workdir)}\n"
    if how == "replaced":
        assert {path.name for path in workdir.iterdir()} == {"config.json", "run.json"}
    else:
        assert not workdir.exists()


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced", "without locks"])
def test_a_run_that_was_taken_away(tmp_path: Path, how: str) -> None:
    workdir = tmp_path / "run"
    with open_run(workdir, "pretrain", {"seed": 0}, overwrite=False, owns=()) as run:
        run.check_held()
        _take_away(workdir, how)
        with pytest.raises(UserError, match=f"^{re.escape(_gone(workdir))}$"):
            run.check_held()
    assert workdir.exists() == (how in ("replaced", "without locks"))


def test_another_machine_or_version_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def warning() -> str:
        with open_run(tmp_path, "pretrain", {"seed": 0}, overwrite=False, owns=()) as run:
            run.warn_of_changes()
        return capsys.readouterr().err

    assert (warning(), warning()) == ("", "")
    file = tmp_path / "run.json"
    story = json.loads(file.read_text())
    cores = machine()["cores"]
    assert (story["machine"]["cores"], story["earlier"]) == (cores, [])
    story["machine"]["cores"], story["versions"]["jax"] = "96", "0.1"
    file.write_text(json.dumps(story))
    expected = (
        f"warning: {tmp_path}: jax 0.1 before and {jax.__version__} now, "
        f"cores 96 before and {cores} now; "
        "the last bits of the results may differ from those of a run without interruption\n"
    )
    assert (warning(), warning()) == (expected, expected)  # also at a second resumption
    (start,) = json.loads(file.read_text())["earlier"]
    assert start == {key: story[key] for key in ("command", "versions", "machine")}
    with open_run(tmp_path, "pretrain", {"seed": 1}, overwrite=True, owns=()):
        pass
    assert json.loads(file.read_text())["earlier"] == []  # another run
    del story["machine"]  # a run of an older version
    file.write_text(json.dumps(story | {"earlier": []}))
    with open_run(tmp_path, "pretrain", {"seed": 1}, overwrite=False, owns=()) as run:
        run.warn_of_changes()
    assert capsys.readouterr().err == ""


def test_each_other_start_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    for version in ("1", "2", "1", "3"):
        with open_run(tmp_path, "pretrain", {"seed": 0}, overwrite=False, owns=()):
            pass
        story = json.loads(file.read_text())
        story["versions"]["jax"] = version
        file.write_text(json.dumps(story))
    with open_run(tmp_path, "pretrain", {"seed": 0}, overwrite=False, owns=()) as run:
        assert run._changed == f"jax 1 and 2 and 3 before and {jax.__version__} now"
    versions_of = [each["versions"]["jax"] for each in json.loads(file.read_text())["earlier"]]
    assert versions_of == ["1", "2", "3"]


def _take_away(workdir: Path, how: str) -> None:
    if how == "moved":
        workdir.rename(workdir.with_name("away"))
    elif how == "deleted":
        while workdir.exists():
            shutil.rmtree(workdir, ignore_errors=True)
    elif how == "replaced":
        workdir.rename(workdir.with_name("away"))
        with open_run(workdir, "pretrain", {"seed": 1}, overwrite=False, owns=()):
            pass
    else:  # without locks, two jobs may use the same directory
        story = json.loads((workdir / "run.json").read_text())
        (workdir / "run.json").write_text(json.dumps(story | {"holder": "another"}))


def _gone(workdir: Path) -> str:
    return (
        f"--workdir={workdir}: was deleted, moved or taken by another run; this one has stopped "
        "and wrote nothing more"
    )


def test_versions_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    with_git = versions()
    monkeypatch.setenv("PATH", "")
    found = versions()
    assert "git" not in found
    assert found.items() <= with_git.items()
    assert {"pvn", "python", "jax"} <= found.keys()


def test_data_that_moved_and_other_spellings_resume(
    run: Callable, dataset: Path, tmp_path: Path
) -> None:
    data, workdir = tmp_path / "data", tmp_path / "run"
    shutil.copytree(dataset, data)
    (data / "frame" / "c" / ".DS_Store").write_text("not data")
    assert run(*arguments(data, workdir, "--config.num_steps=5")).returncode == 0
    data.rename(tmp_path / "moved")
    for spelling in (f"{tmp_path}/run/../moved/", str(dataset)):
        result = run(
            *arguments(Path("x"), Path(f"{workdir}/"), "--config.num_steps=5"),
            f"--config.dataset={spelling}",
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr == (f"{workdir}: complete at step 5; features in {workdir}/features\n")


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--workdir=", "--workdir: is empty, expected a directory"),
        (
            "--workdir=s3://b/run",
            "--workdir=s3://b/run: expected a local path or gs://bucket/path",
        ),
        ("--config.dataset=a,./a", "config.dataset: names a twice, expected each directory once"),
        (
            "--config.dataset=file:///a",
            "config.dataset=file:///a: expected a local path or gs://bucket/path",
        ),
        ("--config.seed=2147483648", "config.seed: 2147483648, expected a whole number, from 0 to"),
    ],
)
def test_bad_paths(run: Callable, tmp_path: Path, flag: str, line: str) -> None:
    result = run("pvn.pretrain", "--config.dataset=x", f"--workdir={tmp_path}/run", flag)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {line}"), result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_dangling_link(run: Callable, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to("/nowhere")
    result = run(*arguments(dataset, tmp_path / "run"))
    assert result.returncode == 1
    assert result.stderr == (
        f"error: --workdir={tmp_path}/run: {tmp_path}/run is a link to /nowhere, which does not "
        "exist, expected a directory\n"
    )


def test_a_dangling_link_in_a_run(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").symlink_to("/nowhere")
    with pytest.raises(UserError, match=r"^run: .*/tensorboard is a link to /nowhere, which does"):
        MetricsWriter(tmp_path, 0)
    (tmp_path / "checkpoints").symlink_to("/nowhere")
    with pytest.raises(UserError, match=r"^checkpoints: .*/checkpoints is a link to /nowhere, wh"):
        save_checkpoint(tmp_path / "checkpoints", 1, {}, {}, 1)


def opened(workdir: Path, config: dict, **more: object) -> None:
    with open_run(workdir, "test", config, **{"overwrite": False, "owns": (), **more}) as run:
        run.check_held()


def test_what_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = f"--workdir={tmp_path}/file: {tmp_path}/file is a file, expected"
    with pytest.raises(UserError, match=f"^{line}"):
        opened(tmp_path / "file", {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_another_config_names_the_fields_of_sections_too(tmp_path: Path) -> None:
    old = {"dqn": {"rate": 0.5, "period": 4}, "counts": (1, 2), "steps": 3}
    opened(tmp_path / "a", old)
    opened(tmp_path / "a", old | {"steps": 4}, may_change=("steps",))
    with pytest.raises(UserError) as caught:
        opened(tmp_path / "a", old | {"dqn": {"rate": 0.25, "period": 4}, "steps": 4})
    assert str(caught.value) == (
        f"--workdir={tmp_path}/a: holds a run with another config: dqn.rate (0.5, now 0.25). Name "
        "another --workdir; --overwrite would delete that run"
    )
    section = r"c51 \(None, now a section\); dqn \(a section, now None\)\. Name another"
    with pytest.raises(UserError, match=section):
        opened(tmp_path / "a", {"c51": {"atoms": 5}, "counts": (1, 2), "steps": 4})
    other = open_run(tmp_path / "a", "other", old, overwrite=True, owns=())
    with (
        pytest.raises(UserError, match=r"holds a run of pvn\.test; name another --workdir$"),
        other,
    ):
        pass
