r"""Pretrains an encoder, without rewards, on the successor measures of many auxiliary tasks.

    python -m pvn.pretrain --config=configs/pretrain.py \
        --config.dataset=data/breakout --workdir=runs/breakout

The run directory holds config.json, metrics.jsonl, TensorBoard events, checkpoints/, features/.
The same command resumes from the newest checkpoint. On a CPU the result has the same bits as that
of a run without interruption. The command does this:

1. It checks each field of the config, then the fields against each other. Nothing is written yet.
2. It opens the run directory. It refuses a run with another config.
3. It reads the cached responses of the tasks, or continues to compute them.
4. It restores the newest checkpoint that verifies. If there is none, it initialises from the seed.
5. It deletes metrics of later steps, and trains for the remaining steps.
6. If the run is already complete, it only writes the features again: the command may have been
   killed after the last checkpoint and before the features.

After SIGTERM or Ctrl-C it saves a checkpoint first; the exit status is then 143 or 130.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.data.buffer import Buffer
from pvn.data.returns import discounted_returns
from pvn.data.sampler import Sampler, Stream, uniform_indices
from pvn.experiment import FIELDS, MAY_CHANGE, Experiment, identity_of, prepare, upgrade_identity
from pvn.features import Features, save_features
from pvn.indicators.registry import INDICATORS, find_family
from pvn.indicators.responses import read_responses
from pvn.indicators.tasks import RATE_STATES, Tasks, tasks_of_dataset
from pvn.learning.checkpoint import restore_checkpoint, save_checkpoint
from pvn.learning.diagnostics import activation_metrics, make_diagnostics
from pvn.learning.feed import Feed, to_transition
from pvn.learning.loop import CheckpointDue, Logged, Stepped, train
from pvn.learning.losses import TARGET_POLICIES
from pvn.learning.optimizers import make_optimizer, scaled_learning_rate
from pvn.learning.parallel import Parallel, make_parallel
from pvn.learning.train_step import (
    Target,
    TrainState,
    average_target,
    init_train_state,
    make_target,
    make_train_step,
    periodic_target,
)
from pvn.metrics import MetricsWriter
from pvn.plugins import plugin_identity
from pvn.run_directory import Run, open_run, versions

_CONFIG = cfg.define_config("configs/pretrain.py")
_WORKDIR = cfg.define_path("workdir", None, "Directory of the run.", required=True, local=False)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run that is in --workdir.")

OWNS = ("checkpoints", "features", "responses", "tensorboard", "metrics.jsonl")

_PROBE_TRANSITIONS = 512  # for the feature rank and the explained variance


def optimizers_of(
    c: ml_collections.FrozenConfigDict,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The optimisers of the network and of the thresholds."""
    rate = scaled_learning_rate(1.0, c.batch_size, c.learning_rate_batch_exponent)
    return (
        make_optimizer(
            c.optimizer,
            learning_rate=c.learning_rate * rate,
            epsilon=c.adam_epsilon,
            max_gradient_norm=c.max_gradient_norm,
        ),
        make_optimizer(
            "adam",
            learning_rate=c.threshold_learning_rate * rate,
            epsilon=c.adam_epsilon,
            max_gradient_norm=0.0,
        ),
    )


def compile_step(
    e: Experiment,
    target: Target,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    parallel: Parallel,
    axis_name: str | None,
) -> Callable[[int, Any, Any, Any], Any]:
    """A compiled function: (step, state, (frozen, arrays), batch) -> state.

    step: counted from 1. Warm-up steps and training steps are two compiled functions.
    """
    c = e.config
    update = (
        average_target(c.target_decay)
        if c.target_update == "average"
        else periodic_target(c.target_period)
    )

    def compiled(warmup: bool) -> Any:
        step = make_train_step(
            network=e.network,
            indicator=e.indicator,
            optimizer=optimizers[0],
            fitted_optimizer=optimizers[1],
            target=target,
            target_update=update,
            warmup=warmup,
            axis_name=axis_name,
        )
        return parallel.compile(
            lambda state, data, batch: step(state, data[0], to_transition(data[1], batch))
        )

    warmup, training = compiled(warmup=True), compiled(warmup=False)
    return lambda step, *inputs: (warmup if step <= c.warmup_steps else training)(*inputs)


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


def prepare_tasks(e: Experiment, key: jax.Array, fingerprint: str, workdir: Path) -> Tasks:
    """The tasks, prepared on the dataset. Shows a progress bar."""
    c, cache, total = e.config, None, RATE_STATES
    if c.responses == "cached":
        depends_on = {"indicator": e.family, "seed": c.seed, "dataset": fingerprint}
        depends_on |= {"num_tasks": c.num_tasks} | c[e.family].to_dict()
        cache = (workdir / "responses", depends_on | plugin_identity(c.indicator))
        total = e.transitions.num_rows
    with console.progress(total, "states", "responses") as bar:
        return tasks_of_dataset(
            e.indicator, key, e.transitions, seed=c.seed, cache=cache, on_progress=bar.update
        )


def feed_of(
    e: Experiment, returns: np.ndarray | None, workdir: Path, parallel: Parallel, start: int
) -> Feed:
    """The batches of the steps from `start` (counted from 0) to the end of the run.

    returns: float32 [N, T], Monte Carlo returns of all rows; None with the TD loss.
    """
    c = e.config
    weights = np.array(c.dataset_weights, np.float64)
    on_device = c.data_residency == "device"
    buffer = Buffer(
        e.transitions,
        e.schedule,
        Sampler(c.seed, c.batch_size, weights / weights.sum() if len(weights) else None),
        start=start,
        responses=functools.partial(read_responses, workdir / "responses")
        if c.responses == "cached"
        else None,
        returns=returns,
        on_host=not on_device,
    )
    return Feed(buffer, parallel, start=start, num_steps=c.num_steps, on_device=on_device)


def pretrain(e: Experiment, place: str, overwrite: bool) -> int:
    """Runs or resumes an experiment in `place`, local or `gs://`. Returns the exit status.

    Raises:
      UserError: the run directory or its checkpoints belong to another run, two datasets hold the
        same data, a file is corrupt, or the loss is not finite.
      OSError: a file cannot be written; the error names it.
    """
    c, transitions = e.config, e.transitions
    fingerprint = e.collection.compute_fingerprint()
    params_key, tasks_key = jax.random.split(jax.random.key(c.seed))
    with open_run(
        place,
        "pretrain",
        identity_of(e, fingerprint),
        overwrite=overwrite,
        owns=OWNS,
        pull=("metrics.jsonl", "checkpoints/*/manifest.json"),
        may_change=MAY_CHANGE,
        upgrade=upgrade_identity,
    ) as run:
        workdir = run.workdir
        # ------------------------------------------------------------ tasks
        tasks = prepare_tasks(e, tasks_key, fingerprint, workdir)
        returns = None
        if c.loss == "monte_carlo":
            assert tasks.responses is not None
            cumulants = tasks.cumulants(tasks.responses)
            returns = discounted_returns(cumulants, transitions.rows.episode, c.discount)

        # ------------------------------------------------------------ the step
        parallel, axis_name = make_parallel(e.devices)
        optimizers = optimizers_of(c)
        target = make_target(
            network=e.network,
            indicator=e.indicator,
            next_value=TARGET_POLICIES[c.target_policy],
            gamma=c.discount,
        )
        step = compile_step(e, target, optimizers, parallel, axis_name)
        diagnose = make_diagnostics(
            network=e.network, encoder=e.encoder, indicator=e.indicator, target=target
        )

        # ------------------------------------------------------------ resuming
        observation = jnp.zeros((1, 84, 84, 4), jnp.uint8)
        params = jax.jit(e.network.init)(params_key, observation)
        state = init_train_state(params, tasks.fitted, *optimizers)
        if restored := restore_checkpoint(
            workdir / "checkpoints",
            state,
            run.identity,
            lambda line: console.say(run.named(line)),
            fetch=lambda name: run.pull(f"checkpoints/{name}"),
            upgrade=upgrade_identity,
            renamed={"totals/loss": "totals/td_loss"},
        ):
            state, _ = restored
        start = int(state.step)
        if start >= c.num_steps:
            export(e, state, fingerprint, workdir)
            publish(run)
            console.say(f"{place}: complete at step {start:,}; features in {place}/features")
            return 0

        # ------------------------------------------------------------ the loop
        probe = uniform_indices(
            c.seed, Stream.PROBE, _PROBE_TRANSITIONS, transitions.num_transitions
        )
        probe_batch = transitions.batch(transitions.start[probe], tasks.responses, returns)
        probe_transitions = jax.jit(to_transition)((), probe_batch)
        tasks = tasks._replace(responses=None)  # mapped pages stay in memory; the feed maps its own
        frozen = parallel.replicate(tasks.frozen)
        last = start
        with (
            console.orderly_stop() as stop,
            feed_of(e, returns, workdir, parallel, start) as feed,
            MetricsWriter(workdir, start) as metrics,
            console.progress(c.num_steps, "steps", "pretrain", start) as bar,
        ):
            fill(feed, stop)
            events = train(
                lambda number, state, arrays, batch: step(number, state, (frozen, arrays), batch),
                state,
                feed,
                parallel,
                num_steps=c.num_steps,
                log_every=c.log_every,
                save_every=c.checkpoint_every,
                stop=lambda: stop,
            )
            for event in () if stop else events:
                match event:
                    case Stepped(last):
                        bar.update()
                    case Logged(_, state, values):
                        values["transitions_per_second"] = values["steps_per_second"] * c.batch_size
                        values |= activation_metrics(tasks.cumulants(tasks.sample, state.fitted))
                        values |= diagnose(state, tasks.frozen, probe_transitions)
                        run.check_held()
                        metrics.write(last, values)
                        bar.set_postfix_str(summary_of(values))
                    case CheckpointDue(_, state):
                        run.check_held()
                        save_checkpoint(
                            workdir / "checkpoints", last, state, run.identity, c.keep_checkpoints
                        )
                        export(e, state, fingerprint, workdir)
                        publish(run)
        publish(run)  # the last events
    if stop:
        saved = "and saved " if last > start else ""
        console.say(f"{place}: stopped {saved}at step {last:,}; the same command resumes")
    else:
        console.say(f"{place}: {last:,} steps; features in {place}/features")
    return stop.status


def publish(run: Run) -> None:
    """Brings a run on `gs://` up to date: what a checkpoint covers first, then the checkpoint."""
    run.push("metrics.jsonl", "tensorboard", "checkpoints", "features")
    run.prune("checkpoints")


def fill(feed: Feed, stop: console.Stop) -> None:
    """Reads the frames that the first step may draw. Shows a progress bar; a stop ends it."""
    with console.progress(feed.num_rows, "frames", "data") as bar:
        for count in feed.fill():
            bar.update(count)
            if stop:
                break


def summary_of(values: Mapping[str, float]) -> str:
    """The text of the progress bar."""
    return (
        f"{values['transitions_per_second']:,.0f} transitions/s, loss {values['loss']:.2g}, "
        f"explained {values['explained_variance']:.2f}, rank {values['feature_rank']:.0f}"
    )


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    config = _CONFIG.value
    family, settings = find_family(cfg.name_in(config, "indicator", FIELDS["indicator"]))
    checked = cfg.check_config(config, FIELDS | INDICATORS | {family: settings})
    return pretrain(prepare(checked, family, settings), _WORKDIR.value, _OVERWRITE.value)


if __name__ == "__main__":
    console.run(
        main,
        memory="config.batch_size, config.num_tasks, config.num_features or config.data_memory_gib",
    )
