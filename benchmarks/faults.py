"""Disturbs small pretraining runs in many ways, and counts what is lost. A report, not a test.

    python -m benchmarks.faults --kills=50 --workdir=runs/faults

Each trial starts a run, disturbs it, and starts the same command again until the run is complete.
The command may say in one line why it cannot go on; then the cause is removed, as a person would
do, and it is started again. At the end, the features and all arrays of the last checkpoint must
have the bits of an undisturbed run. It prints one JSON line for each fault:

    tried        number of trials
    resumed      trials in which the same command went on by itself
    refused      trials in which it said in one line why it cannot, and went on after the cure
    steps_lost   largest number of steps that were logged, and had to be repeated
    wrong        trials with other features at the end, with a traceback, or with no clear line
    hangs        trials in which a process did not end within `HANG` seconds

The faults of a full and of a read-only disk mount a small tmpfs, and the clock that jumps needs
libfaketime; without them these faults are left out, and the report says so.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks.measure import print_row
from pvn.runs import console
from pvn.runs.metrics import read_metrics

_KILLS = flags.DEFINE_integer("kills", 50, "Number of SIGKILLs at random instants.")
_TRIALS = flags.DEFINE_integer("trials", 5, "Number of trials of each other fault.")
_FAULTS = flags.DEFINE_list("faults", [], "Names of faults; all if empty.")
_STEPS = flags.DEFINE_integer("num_steps", 120, "Steps of a run.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/faults", "Scratch directory; deleted first.")
_DATASET = flags.DEFINE_string("dataset", "", "A dataset of 3,000 steps; collected if empty.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the random instants and places.")

HANG = 400  # seconds; longer than pvn waits for a disk (pvn.storage.remote)
_ROOT = Path(__file__).parents[1]
_RUN = (
    *("--config.num_features=32", "--config.num_tasks=4", "--config.batch_size=8"),
    *("--config.local_network.tasks_per_network=4", "--config.log_every=10"),
    *("--config.checkpoint_every=20", "--config.data_memory_gib=0.0105"),
)


class Hang(Exception):
    """A process did not end."""


class Skip(Exception):
    """The fault cannot be made on this machine; the message says why."""


class Outcome(NamedTuple):
    """How a trial ended."""

    refused: bool
    steps_lost: int
    wrong: str  # why it is wrong; empty if it is right


class Campaign:
    """The runs of a campaign, on one dataset, with an undisturbed run for each process count."""

    def __init__(self, folder: Path, dataset: Path, num_steps: int, seed: int):
        self.folder, self.dataset, self.num_steps = folder, dataset, num_steps
        self.random = random.Random(seed)
        self._expected: dict[int, dict[str, np.ndarray]] = {}
        self.seconds: dict[int, float] = {}  # of an undisturbed run
        self.trial = 0  # number of the present trial

    def start(
        self,
        workdir: Path,
        processes: int = 1,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> list[subprocess.Popen[str]]:
        """Starts the processes of a run."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        started = []
        for rank in range(processes):
            variables = {**os.environ, **environment}
            variables |= {
                "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compilations"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            if processes > 1:
                variables |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_PROCESS_ID": str(rank)}
                variables["JAX_NUM_PROCESSES"] = str(processes)
            command = [sys.executable, "-m", "pvn.pretrain", f"--workdir={workdir}", *_RUN]
            command += [f"--config.dataset={self.dataset}", f"--config.num_steps={self.num_steps}"]
            started.append(
                subprocess.Popen(
                    command,
                    cwd=_ROOT,
                    env=variables,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        return started

    def prepare(self, processes: int) -> None:
        """Makes the undisturbed run. A second one gives the time with a warm compilation cache."""
        for name in ("cold", "undisturbed"):
            workdir = self.folder / f"{name}_{processes}"
            began = time.monotonic()
            for status, stderr in finish(self.start(workdir, processes)):
                assert status == 0, stderr
            self.seconds[processes] = time.monotonic() - began
        self._expected[processes] = arrays_of(workdir)

    def is_right(self, workdir: Path, processes: int) -> bool:
        """Whether all arrays have the bits of the undisturbed run."""
        found, expected = arrays_of(workdir), self._expected[processes]
        return found.keys() == expected.keys() and all(
            np.array_equal(found[name], value) for name, value in expected.items()
        )

    def recover(
        self, workdir: Path, processes: int = 1, cure: Callable[[], object] | None = None
    ) -> Outcome:
        """Starts the command again until the run is complete."""
        logged = last_step(workdir)
        results = finish(self.start(workdir, processes))
        refused = any(status for status, _ in results)
        if refused:
            errors = [text for status, text in results if status == 1]
            if len(errors) != len(results) or any(not one_line(text) for text in errors):
                return Outcome(True, 0, f"no clear line: {results}")
            if cure is None:
                return Outcome(True, 0, f"refused without need: {errors}")
            cure()
            results = finish(self.start(workdir, processes))
            if any(status for status, _ in results):
                return Outcome(True, 0, f"not resumed: {results}")
        found = re.search(r"resumes at step ([\d,]+)", results[0][1])
        resumed = int(found[1].replace(",", "")) if found else 0
        if "complete at step" in results[0][1]:
            resumed = self.num_steps
        wrong = "" if self.is_right(workdir, processes) else "other features"
        return Outcome(refused, max(0, logged - resumed), wrong)


def finish(started: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """(exit status, stderr without what JAX prints) of each process."""
    deadline, results = time.monotonic() + HANG, []
    try:
        for process in started:
            _, stderr = process.communicate(timeout=max(deadline - time.monotonic(), 1))
            results.append((process.returncode, stderr))
    except subprocess.TimeoutExpired:
        raise Hang from None
    finally:
        for process in started:
            process.kill()
            process.communicate()
    return results


def one_line(stderr: str) -> bool:
    """Whether there is one error, of one line; other lines may say what was passed over."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return sum(line.startswith("error: ") for line in lines) == 1 and "Traceback" not in stderr


def arrays_of(workdir: Path) -> dict[str, np.ndarray]:
    """The bytes of the features, and the arrays of the last checkpoint."""
    newest = max((workdir / "checkpoints").glob("step_*"))
    arrays = dict(np.load(newest / "state.npz"))
    weights = (workdir / "features" / "model.safetensors").read_bytes()
    return arrays | {"features": np.frombuffer(weights, np.uint8)}


def last_step(workdir: Path) -> int:
    """The step of the last whole row of metrics.jsonl; 0 if there is none."""
    try:
        rows = read_metrics(workdir / "metrics.jsonl")
    except OSError:
        return 0
    return int(rows[-1]["step"] or 0) if rows else 0


def newest_checkpoint(workdir: Path) -> Path:
    return max((workdir / "checkpoints").glob("step_??????????"))


def wait_until(
    condition: Callable[[], object], started: list[subprocess.Popen[str]], poll: float = 0.002
) -> None:
    """Returns when the condition holds, or a process has ended."""
    deadline = time.monotonic() + HANG
    while not condition() and all(process.poll() is None for process in started):
        if time.monotonic() > deadline:
            raise Hang
        time.sleep(poll)


def kill(started: list[subprocess.Popen[str]]) -> None:
    for process in started:
        process.kill()
        process.communicate()


def stopped_after_checkpoint(c: Campaign, workdir: Path) -> None:
    """Leaves a run that was killed after its second checkpoint."""
    started = c.start(workdir)
    wait_until(lambda: last_step(workdir) >= 45, started)
    kill(started)


# ---------------------------------------------------------------- faults: (campaign, folder)


def sigkill(c: Campaign, workdir: Path, processes: int = 1) -> Outcome:
    """SIGKILL up to three times in one run, at random instants or after random rows of metrics."""
    lost = 0
    for _ in range(c.random.randint(1, 3)):
        started = c.start(workdir, processes)
        until = time.monotonic() + c.random.uniform(0, c.seconds[processes])
        step = c.random.randrange(5, c.num_steps, 5)
        if c.random.random() < 0.5:
            wait_until(lambda until=until: time.monotonic() > until, started)  # type: ignore[misc]
        else:
            wait_until(lambda step=step: last_step(workdir) >= step, started)  # type: ignore[misc]
        c.random.choice(started).kill()
        finish(started)  # the other process must end by itself
        lost = max(lost, last_step(workdir) % 20)
    outcome = c.recover(workdir, processes)
    return outcome._replace(steps_lost=max(lost, outcome.steps_lost))


def sigkill_one_of_two(c: Campaign, workdir: Path) -> Outcome:
    return sigkill(c, workdir, processes=2)


def sigkill_while_saving(c: Campaign, workdir: Path) -> Outcome:
    """SIGKILL while a checkpoint is being written."""
    number = c.random.randint(1, 3)
    started = c.start(workdir)
    partial = workdir / "checkpoints" / f"step_{20 * number:010d}.partial"
    wait_until(partial.exists, started, poll=0)
    time.sleep(c.random.uniform(0, 0.003))
    kill(started)
    return c.recover(workdir)


def sigterm(c: Campaign, workdir: Path) -> Outcome:
    started = c.start(workdir)
    until = time.monotonic() + c.random.uniform(0, c.seconds[1])
    wait_until(lambda: time.monotonic() > until, started)
    started[0].send_signal(signal.SIGTERM)
    ((status, stderr),) = finish(started)
    if status not in (0, 143, -signal.SIGTERM) or "Traceback" in stderr:
        return Outcome(False, 0, f"status {status}: {stderr}")
    return c.recover(workdir)


def truncated_payload(c: Campaign, workdir: Path) -> Outcome:
    stopped_after_checkpoint(c, workdir)
    file = newest_checkpoint(workdir) / "state.npz"
    os.truncate(file, c.random.randrange(file.stat().st_size))
    return c.recover(workdir)


def flip(file: Path, chance: random.Random) -> None:
    """Flips one bit."""
    raw = bytearray(file.read_bytes())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    file.write_bytes(raw)


def flipped_bit(c: Campaign, workdir: Path) -> Outcome:
    """A bit of the newest checkpoint or of the stored responses."""
    stopped_after_checkpoint(c, workdir)
    files = [*newest_checkpoint(workdir).iterdir(), *(workdir / "responses" / "c").glob("*/*")]
    flip(c.random.choice(sorted(files)), c.random)
    return c.recover(workdir)


def emptied_checkpoint(c: Campaign, workdir: Path) -> Outcome:
    stopped_after_checkpoint(c, workdir)
    for file in newest_checkpoint(workdir).iterdir():
        file.unlink()
    return c.recover(workdir)


def all_checkpoints_emptied(c: Campaign, workdir: Path) -> Outcome:
    """No checkpoint can be used: it says so, and the cure is to delete them."""
    stopped_after_checkpoint(c, workdir)
    for file in (workdir / "checkpoints").glob("*/*"):
        file.unlink()
    return c.recover(workdir, cure=lambda: shutil.rmtree(workdir / "checkpoints"))


def missing_manifest(c: Campaign, workdir: Path) -> Outcome:
    stopped_after_checkpoint(c, workdir)
    (newest_checkpoint(workdir) / "manifest.json").unlink()
    return c.recover(workdir)


def bad_shard(c: Campaign, workdir: Path) -> Outcome:
    """A file of frames goes bad while a moving buffer reads it. The cure is to restore it."""
    own = Campaign(c.folder, workdir.with_suffix(".data"), c.num_steps, 0)
    own._expected = c._expected
    shutil.copytree(c.dataset, own.dataset)
    file = own.dataset / "frame" / "c" / "0" / "0" / "0"
    whole = file.read_bytes()
    started = own.start(workdir)
    wait_until(lambda: last_step(workdir) >= 25, started)
    raw = bytearray(whole)
    for at in range(0, len(raw) - 4096, 256):  # all chunks, but not their index at the end
        raw[at] ^= 1
    file.write_bytes(raw)
    ((status, stderr),) = finish(started)
    # All it needs may have been read already.
    if status != 0 and not one_line(stderr):
        return Outcome(True, 0, f"no clear line: {stderr}")
    return own.recover(workdir, cure=lambda: file.write_bytes(whole))


@contextlib.contextmanager
def small_disk(workdir: Path) -> Iterator[Path]:
    """A tmpfs of 24 MiB at `workdir`."""
    workdir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(workdir)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Skip("there is no mount command") from None
    if done.returncode:
        raise Skip(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield workdir / "run"
    finally:
        subprocess.run(["umount", "-l", str(workdir)], check=True)


def full_disk(c: Campaign, workdir: Path) -> Outcome:
    """The disk fills up before each kind of file that a run writes, in turn."""
    with small_disk(workdir) as run:
        filler = workdir / "filler"

        def fill(left: int) -> None:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
                stream.write(bytes(max(0, shutil.disk_usage(workdir).free - left)))

        kind = ("run.json", "responses", "metrics", "checkpoint", "features")[c.trial % 5]
        if kind in ("run.json", "responses"):
            fill(0 if kind == "run.json" else 24 * 1024)
        started = c.start(run)
        if kind == "metrics":
            wait_until(lambda: last_step(run) >= 5, started)
            fill(0)
        elif kind == "checkpoint":
            wait_until(lambda: last_step(run) >= 5, started)
            fill(100 * 1024)
        elif kind == "features":
            wait_until((run / "checkpoints" / f"step_{20:010d}").is_dir, started)
            fill(40 * 1024)
        ((status, stderr),) = finish(started)
        if status not in (0, 1) or (status == 1 and not one_line(stderr)):
            return Outcome(True, 0, f"status {status}: {stderr}")
        return c.recover(run, cure=filler.unlink)


def read_only_disk(c: Campaign, workdir: Path) -> Outcome:
    """The disk becomes read-only at a random instant."""
    with small_disk(workdir) as run:
        started = c.start(run)
        until = time.monotonic() + c.random.uniform(0, c.seconds[1])
        wait_until(lambda: time.monotonic() > until, started)

        def remount(mode: str) -> int:
            command = ["mount", "-o", f"remount,{mode}", str(workdir)]
            return subprocess.run(command, capture_output=True, check=False).returncode

        while remount("ro") and started[0].poll() is None:  # busy while a file is open for writing
            time.sleep(0.01)
        ((status, stderr),) = finish(started)
        if status not in (0, 1) or (status == 1 and not one_line(stderr)):
            return Outcome(True, 0, f"status {status}: {stderr}")
        return c.recover(run, cure=lambda: remount("rw"))


def jumping_clock(c: Campaign, workdir: Path) -> Outcome:
    """The wall clock jumps by days, back and forth, while the run writes.

    After a jump back by d, tensorstore may start no thread for a time of d. The command then ends.
    """
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        raise Skip("libfaketime is not installed")
    clock = workdir.with_suffix(".clock")
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    started = c.start(workdir, environment=environment)
    deadline = time.monotonic() + HANG
    while started[0].poll() is None and last_step(workdir) < 90:
        if time.monotonic() > deadline:
            kill(started)
            raise Hang
        clock.write_text(c.random.choice(["-3d", "+0", "+5d", "-1h"]))
        time.sleep(0.02)
    if started[0].poll() is None:
        started[0].kill()
    ((status, stderr),) = finish(started)
    if status not in (0, -signal.SIGKILL) and not one_line(stderr):
        return Outcome(True, 0, f"status {status}: {stderr}")
    return c.recover(workdir)


def second_run(c: Campaign, workdir: Path) -> Outcome:
    """A second run in the same directory refuses; after a kill of the first it goes on."""
    started = c.start(workdir)
    wait_until(lambda: last_step(workdir) >= 25, started)
    ((status, stderr),) = finish(c.start(workdir))
    alive = started[0].poll() is None
    kill(started)
    if alive and (status != 1 or "another command is at work there" not in stderr):
        return Outcome(True, 0, f"status {status}: {stderr}")
    return c.recover(workdir)


ALL: tuple[Callable[[Campaign, Path], Outcome], ...] = (
    *(sigkill, sigkill_while_saving, sigkill_one_of_two, sigterm, truncated_payload, flipped_bit),
    *(emptied_checkpoint, all_checkpoints_emptied, missing_manifest, full_disk, read_only_disk),
    *(bad_shard, jumping_clock, second_run),
)


def report(
    c: Campaign, fault: Callable[[Campaign, Path], Outcome], trials: int
) -> dict[str, object]:
    """Makes the trials of a fault; the line to print."""
    outcomes, hangs = [], 0
    for number in range(trials):
        workdir, c.trial = c.folder / f"{fault.__name__}_{number}", number
        try:
            outcomes.append(fault(c, workdir))
        except Hang:
            hangs += 1
        except Skip as skip:
            return {"fault": fault.__name__, "skipped": str(skip)}
        if outcomes and outcomes[-1].wrong:
            print(f"{workdir}: {outcomes[-1].wrong}", file=sys.stderr)
        else:
            shutil.rmtree(workdir, ignore_errors=True)
    return {
        "fault": fault.__name__,
        "tried": trials,
        "resumed": sum(not (o.refused or o.wrong) for o in outcomes),
        "refused": sum(o.refused and not o.wrong for o in outcomes),
        "steps_lost": max((o.steps_lost for o in outcomes), default=0),
        "wrong": sum(bool(o.wrong) for o in outcomes),
        "hangs": hangs,
    }


def main() -> int:
    # The runs need the GPU that this process only names in its rows.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    folder = Path(_WORKDIR.value).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dataset = Path(_DATASET.value or folder / "data").absolute()
    if not dataset.is_dir():
        command = ["pvn.collect", "--game=Breakout", "--num_steps=3000", f"--dataset={dataset}"]
        subprocess.run([sys.executable, "-m", *command], cwd=_ROOT, check=True)
    campaign = Campaign(folder, dataset, _STEPS.value, _SEED.value)
    faults = [f for f in ALL if not _FAULTS.value or f.__name__ in _FAULTS.value]
    campaign.prepare(1)
    if sigkill_one_of_two in faults:
        campaign.prepare(2)
    failed = False
    for fault in faults:
        line = report(campaign, fault, _KILLS.value if fault is sigkill else _TRIALS.value)
        print_row(**line)
        failed |= bool(line.get("wrong") or line.get("hangs"))
    return int(failed)


if __name__ == "__main__":
    console.run(main)
