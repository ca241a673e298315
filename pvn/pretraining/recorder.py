"""What a pretraining run writes while it trains: metrics, checkpoints and features."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from pvn.data.sampler import Stream, uniform_indices
from pvn.features import Features, save_features
from pvn.features.successor import Successor, Task
from pvn.indicators.tasks import Tasks
from pvn.learning.checkpoint import save_checkpoint
from pvn.learning.diagnostics import PROBE_TRANSITIONS, activation_metrics, make_diagnostics
from pvn.learning.feed import to_transition
from pvn.learning.loop import Logged
from pvn.learning.objectives import Objective
from pvn.learning.train_step import TrainState
from pvn.pretraining.experiment import Experiment, keys_of
from pvn.runs import console
from pvn.runs.metrics import MetricsWriter, read_metrics
from pvn.runs.run_directory import Run, command_line, versions

_DEAD_SHARE = 0.2  # share of dead units, or tasks, above which there is a warning
_COLLAPSED_RANK = 2  # at most
_LEARNING_RATE = "a lower learning rate, learning_rate_warmup, or more varied data, may help"
DEAD_UNITS = f"units are dead (0 in all of {PROBE_TRANSITIONS} states); {_LEARNING_RATE}"
DEAD_TASKS = (
    "tasks are dead (the same in all states of a sample); another proportion, or more varied data, "
    "may help"
)


class Recorder:
    """Writes metrics at once, and checkpoints and features in a thread. A context manager.

    Leaving the context waits for the thread. Every method raises `UserError` if the directory does
    not belong to this run any more, and `OSError` if a file cannot be written; an error in the
    thread is raised by the next call.
    """

    def __init__(
        self,
        e: Experiment,
        run: Run,
        fingerprint: str,
        tasks: Tasks,
        returns: np.ndarray | None,
        objective: Objective,
        start: int,
    ):
        """
        Args:
          e: the experiment.
          run: the open run directory.
          fingerprint: of the data.
          tasks: prepared.
          returns: float32 [N, T], Monte Carlo returns of all rows; None with the TD loss.
          objective: of the step.
          start: the step from which the run goes on; rows of later steps are deleted.
        """
        self._e, self._run, self._fingerprint, self._tasks = e, run, fingerprint, tasks
        self._diagnose = make_diagnostics(
            objective=objective, encoder=e.encoder, indicator=tasks.indicator
        )
        transitions, seed = e.transitions, e.config.seed
        drawn = uniform_indices(seed, Stream.PROBE, PROBE_TRANSITIONS, transitions.num_transitions)
        batch = transitions.batch(transitions.start[drawn], tasks.responses, returns)
        self._probe = jax.jit(to_transition, static_argnums=0)(e.observation, (), batch)
        self._metrics = MetricsWriter(run.workdir, start)
        self._warnings: dict[str, Dead | Collapsed] = {
            "dead_units": Dead(e.config.num_features, DEAD_UNITS),
            "dead_tasks": Dead(e.indicator.num_tasks, DEAD_TASKS),
            "feature_rank": Collapsed(e.config.num_features),
        }
        for row in read_metrics(run.workdir / "metrics.jsonl"):  # a resumed run does not repeat it
            for name, warning in self._warnings.items():
                if (value := row.get(name)) is not None:
                    warning.at(int(row["step"] or 0), int(value))
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def log(self, event: Logged) -> str:
        """Writes a row of metrics, with diagnostics. Returns a summary for the progress bar."""
        self._run.check_held()
        self.check()
        values, tasks = event.values, self._tasks
        values["transitions_per_second"] = values["steps_per_second"] * self._e.config.batch_size
        values |= activation_metrics(tasks.activations(event.state.fitted))
        values |= self._diagnose(event.state, tasks.frozen, self._probe)
        self._metrics.write(event.step, values)
        for name, warning in self._warnings.items():
            if name in values and (text := warning.at(event.step, int(values[name]))):
                console.say(text)
        return _summary(values)

    def save(self, step: int, state: TrainState) -> None:
        """Starts to save. Waits if an earlier checkpoint is still being written."""
        self.check(wait=True)
        self._pending = self._thread.submit(self._save, step, jax.device_get(state))

    def _save(self, step: int, state: TrainState) -> None:
        run = self._run
        run.check_held()
        folder, keep = run.workdir / "checkpoints", self._e.config.keep_checkpoints
        save_checkpoint(folder, step, state, run.identity, keep)
        export(self._e, state, self._fingerprint, run.workdir)
        publish(run)

    def check(self, wait: bool = False) -> None:
        """Raises the error of a save that has failed. wait: first wait until it has ended."""
        if self._pending is not None and (wait or self._pending.done()):
            self._pending.result()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._metrics.close()


class Dead:
    """Decides when to warn of dead units or tasks: once above a fifth, and again at twice as many.

    Not while the number falls, or in the first row unless all are dead: training may revive those
    that were dead before it.
    """

    def __init__(self, total: int, text: str):
        """total: number of units or tasks. text: what is dead, and what may help."""
        self._total = self._before = total
        self._text, self._above = text, total * _DEAD_SHARE

    def at(self, step: int, dead: int) -> str:
        """The warning of a step; empty if there is none."""
        falling, self._before = dead < self._before, dead
        if dead <= self._above or falling:
            return ""
        self._above = 2 * dead - 1
        return f"warning: step {step}: {dead} of {self._total} {self._text}"


class Collapsed:
    """Decides when to warn of collapsed features: at a second row in succession of rank 1 or 2.

    Features may recover from their first steps. Fewer than 16 have a low rank anyway.
    """

    def __init__(self, num_features: int):
        self._num_features, self._rows = num_features, 0

    def at(self, step: int, rank: int) -> str:
        """The warning of a step; empty if there is none."""
        self._rows = self._rows + 1 if rank <= _COLLAPSED_RANK else 0
        if self._rows != 2 or self._num_features < 16:
            return ""
        return (
            f"warning: step {step}: the features have collapsed: rank {rank} of "
            f"{self._num_features} in {PROBE_TRANSITIONS} states; {_LEARNING_RATE}"
        )


def _summary(values: Mapping[str, float]) -> str:
    name = "explained_variance" if "explained_variance" in values else "action_accuracy"
    return (
        f"{values['transitions_per_second']:,.0f} transitions/s, loss {values['loss']:.2g}, "
        f"{name.replace('_', ' ')} {values[name]:.2f}, rank {values['feature_rank']:.0f}"
    )


def publish(run: Run) -> None:
    """Brings a run on `gs://` up to date: what a checkpoint covers first, then the checkpoint."""
    run.push("metrics.jsonl", "tensorboard", "profile", "checkpoints", "features")
    run.prune("checkpoints")


def export(e: Experiment, state: TrainState, fingerprint: str, workdir: Path) -> None:
    """Writes features/: the parameters of the encoder, and features.json, which describes it."""
    c, attributes = e.config, e.dataset.attributes
    metadata = {
        "encoder": c.encoder,
        "width": c.width,
        "num_features": c.num_features,
        "dtype": c.dtype,
        **e.last_layer,
        "observation_shape": list(e.observation.shape),
        "agent": "inverse_dynamics" if c.loss == "inverse_dynamics" else "pvn",
        "seed": c.seed,
        "step": int(state.step),
        "command": command_line(),
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
    requires = save_features(workdir / "features", features, successor=_successor_of(e, state))
    if requires and int(state.step) == c.num_steps:
        console.say(f"features: {requires}")


def _successor_of(e: Experiment, state: TrainState) -> Successor | None:
    """The heads of a train state and the tasks they predict. None: they are not exported."""
    c = e.config
    if not e.exports_successor:
        return None
    heads = jax.device_get(state.params["heads"])
    return Successor(
        np.ascontiguousarray(np.moveaxis(heads["kernel"], 0, 2)),
        np.ascontiguousarray(heads["bias"].T),
        e.indicator,
        # Cached responses discard them.
        jax.device_get(e.indicator.init(keys_of(c.seed)[1], e.example)[0]),
        jax.device_get(state.fitted),
        Task(
            c.indicator,
            c[e.family].to_dict(),
            list(c.discount),
            c.loss,
            c.target_policy if c.loss == "td" else "behaviour",
            c.cumulants,
            c.candidates_per_task,
        ),
        e.observation.shape,
    )
