"""Saves the checkpoints and the features of a pretraining run, while training goes on."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax

from pvn import console
from pvn.experiment import Experiment
from pvn.features import Features, save_features
from pvn.learning.checkpoint import save_checkpoint
from pvn.learning.train_step import TrainState
from pvn.run_directory import Run, versions


class Saver:
    """Saves checkpoints and features in a thread, one after the other, while training goes on."""

    def __init__(self, e: Experiment, run: Run, fingerprint: str):
        self._e, self._run, self._fingerprint = e, run, fingerprint
        self._threads = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def save(self, step: int, state: TrainState) -> None:
        """Starts to save. Waits if an earlier checkpoint is still being written."""
        self.check(wait=True)
        self._pending = self._threads.submit(self._save, step, jax.device_get(state))

    def _save(self, step: int, state: TrainState) -> None:
        run, c = self._run, self._e.config
        run.check_held()
        folder = run.workdir / "checkpoints"
        save_checkpoint(folder, step, state, run.identity, c.keep_checkpoints)
        export(self._e, state, self._fingerprint, run.workdir)
        publish(run)

    def check(self, wait: bool = False) -> None:
        """Raises the error of a save that has failed. wait: first wait until it has ended."""
        if self._pending is not None and (wait or self._pending.done()):
            self._pending.result()

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()


def publish(run: Run) -> None:
    """Brings a run on `gs://` up to date: what a checkpoint covers first, then the checkpoint."""
    run.push("metrics.jsonl", "tensorboard", "checkpoints", "features")
    run.prune("checkpoints")


def export(e: Experiment, state: TrainState, fingerprint: str, workdir: Path) -> None:
    """Writes features/: the parameters of the encoder, and features.json, which describes it."""
    c, attributes = e.config, e.collection.attributes
    metadata = {
        "encoder": c.encoder,
        "width": c.width,
        "num_features": c.num_features,
        "dtype": c.dtype,
        "agent": "pvn",
        "seed": c.seed,
        "step": int(state.step),
        "versions": versions(),
        "game": attributes["game"],
        "num_actions": attributes["num_actions"],
        "protocol": attributes["protocol"],
        "dataset": {
            "path": c.dataset,
            "fingerprint": fingerprint,
            "num_transitions": e.transitions.num_transitions,
            "source": attributes["source"],  # a list if there are several datasets
        },
        "pretraining": c.to_dict(),
    }
    features = Features(e.encoder, jax.device_get(state.params["encoder"]), metadata)
    requires = save_features(workdir / "features", features)
    if requires and int(state.step) == c.num_steps:
        console.say(f"features: {requires}")
