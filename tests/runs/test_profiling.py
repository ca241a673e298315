"""--profile_steps: which steps a trace holds."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from pvn.runs.profiling import Profile


def steps_in(folder: Path) -> list[int]:
    """The numbers of the steps that `stepped` has marked in the trace of a run."""
    (file,) = folder.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    names = {event.get("name", "") for event in events}
    return sorted(int(name.removeprefix("step ")) for name in names if name.startswith("step "))


def stepped(profile: Profile, start: int, end: int) -> None:
    with profile:
        profile.after(start)
        for step in range(start + 1, end + 1):
            with jax.profiler.TraceAnnotation(f"step {step}"):
                np.asarray(jax.numpy.ones(3) * step)
            profile.after(step)


def test_a_trace_holds_its_steps_and_the_next_two(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stepped(Profile((3, 4), tmp_path / "a", "run"), 0, 9)
    assert steps_in(tmp_path / "a") == [3, 4, 5, 6]
    assert capsys.readouterr().err == "run/profile: a profile of steps 3 to 4\n"
    stepped(Profile((8, 20), tmp_path / "b", "run"), 7, 9)  # it resumes there, and ends early
    assert steps_in(tmp_path / "b") == [8, 9]
    capsys.readouterr()
    for first, start in ((3, 3), (12, 0)):  # it resumes after that step, or ends before
        stepped(Profile((first, 14), tmp_path / "c", "run"), start, 9)
        assert not (tmp_path / "c").exists()
        warning = f"run did not come to step {first} from an earlier one, so there is no profile"
        assert warning in capsys.readouterr().err


def test_the_command_traces_its_step(run: Callable, minatar: Path, tmp_path: Path) -> None:
    result = run(
        *("pvn.pretrain", "--config=configs/pretrain_minatar.py", f"--workdir={tmp_path}/run"),
        *(f"--config.dataset={minatar}", "--config.num_tasks=3", "--config.num_features=8"),
        *("--config.num_steps=8", "--config.batch_size=4", "--profile_steps=4:5"),
    )
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path}/run/profile: a profile of steps 4 to 5\n" in result.stderr
    (file,) = tmp_path.glob("run/profile/plugins/profile/*/*.xplane.pb")  # for XProf
    assert b"dot" in file.read_bytes()
    assert steps_in(tmp_path / "run") == []
