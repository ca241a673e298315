r"""Pretrains an encoder, without rewards, on the successor measures of many auxiliary tasks.

    python -m pvn.pretrain --config=configs/pretrain.py \
        --config.dataset=data/breakout --workdir=runs/breakout

The run directory holds config.json, metrics.jsonl, TensorBoard events, checkpoints/, features/.
The same command resumes from the newest checkpoint. On a CPU with the same number of cores the
result has the bits of a run without interruption. The command does this:

1. It checks each field of the config, then the fields against each other. Nothing is written yet.
2. It opens the run directory. It refuses a run with another config.
3. It reads the cached responses of the tasks, or continues to compute them (also of a run that is
   complete).
4. It restores the newest checkpoint that verifies. If there is none, it initialises from the seed.
5. It deletes metrics of later steps, and trains for the remaining steps.
6. If the run is already complete, it only writes the features again: the command may have been
   killed after the last checkpoint and before the features.

With --dry_run it only does the first step, compiles a training step, and prints the size of the run
(`pvn.pretraining.sizing`).

After SIGTERM or Ctrl-C it saves a checkpoint first; the exit status is then 143 or 130.

On a cluster the command is one of several processes (`pvn.runs.cluster`, docs/clusters.md). Each
gathers its rows of every batch, or its devices draw them; the first alone writes the run directory.
"""

import contextlib
import hashlib
import signal
from typing import Any

import jax
import numpy as np
from absl import flags

from pvn.data.buffer import Buffer
from pvn.data.returns import discounted_returns
from pvn.data.sampler import Sampler
from pvn.indicators.controllable import most_controllable
from pvn.indicators.discounts import discounts_of_tasks
from pvn.indicators.registry import INDICATORS, find_family
from pvn.indicators.responses import (
    KEPT,
    Cache,
    Share,
    empty_cache,
    keep_arrays,
    load_arrays,
    open_cache,
)
from pvn.indicators.tasks import RATE_STATES, Tasks, check_varies, tasks_of_dataset
from pvn.learning.checkpoint import restore_checkpoint
from pvn.learning.feed import Feed
from pvn.learning.loop import CheckpointDue, Logged, Stepped, train
from pvn.learning.parallel import Parallel, from_first, make_parallel, wait_for_all
from pvn.learning.train_step import TrainState, init_train_state
from pvn.plugins import plugin_identity
from pvn.pretraining.allocation import keep_freed_memory
from pvn.pretraining.experiment import FIELDS, Experiment, keys_of, prepare
from pvn.pretraining.identity import MAY_CHANGE, check_same, fingerprint_of, identity_of
from pvn.pretraining.memory import choice_states
from pvn.pretraining.recorder import Recorder, export, publish
from pvn.pretraining.sizing import format_sizes, size_run
from pvn.pretraining.training import (
    compile_step,
    initial_params,
    objective_of,
    optimizers_of,
    steps_together,
)
from pvn.runs import config as cfg
from pvn.runs import console
from pvn.runs.cluster import ARRIVAL, Processes, connect
from pvn.runs.profiling import Profile
from pvn.runs.run_directory import Run, open_run

_CONFIG = cfg.define_config("configs/pretrain.py")
_WORKDIR = cfg.define_path("workdir", None, "Directory of the run.", required=True, local=False)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Print the size of the run (FLOP, memory, disk, draws); write nothing."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Fail unless this is one of several processes, started by a cluster."
)
_ARRIVAL = flags.DEFINE_float(
    "arrival_seconds", ARRIVAL, "Time within which all processes must arrive.", lower_bound=1
)
_PROFILE_STEPS = cfg.define_steps(
    "profile_steps", "Trace these steps, FIRST:LAST; the trace is in profile/ of the run."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run that is in --workdir.")

OWNS = ("checkpoints", "features", "profile", "responses", "tensorboard", "metrics.jsonl")


def cache_of(e: Experiment, fingerprint: str, place: str, processes: Processes) -> Cache | None:
    """Where the run stores responses, open. None: they are computed in each step.

    Raises:
      UserError: the cache cannot be read or written.
    """
    if not e.cached:
        return None
    c = e.config
    depends_on = {"indicator": e.family, "seed": c.seed, "dataset": fingerprint}
    depends_on |= {"num_tasks": c.num_tasks} | c[e.family].to_dict()
    if c.candidates_per_task > 1:
        depends_on |= {"candidates_per_task": c.candidates_per_task}
    if e.packed:
        depends_on |= {"packed": True, "cumulants": c.cumulants}  # they are stored fitted
    devices = jax.local_devices()
    cache = Cache(
        f"{place}/responses",
        depends_on | plugin_identity(c.indicator),
        Share(processes.rank, processes.size, wait_for_all),
        devices[:1] if devices[0].platform == "cpu" else devices,
    )
    open_cache(cache)
    return cache


def choose_tasks(
    e: Experiment, key: jax.Array, cache: Cache | None, processes: Processes
) -> tuple[Experiment, dict[str, Any]]:
    """(the experiment with the most controllable of its candidate tasks, what identifies these).

    Shows a progress bar.

    Raises:
      UserError: as `most_controllable`, or the cache cannot be read or written.
    """
    indicator, kept = e.indicator, None
    if indicator.candidates is None:
        return e, {}
    if cache:
        kept = load_arrays(cache, KEPT, np.zeros(indicator.num_tasks, np.int32))
    if kept is None:
        if cache:
            empty_cache(cache)  # what else is there may be of other tasks
        hidden = not processes.is_first
        with console.progress(choice_states(e), "states", "candidates", hidden=hidden) as bar:
            choice = most_controllable(
                indicator, key, e.transitions, seed=e.config.seed, on_progress=bar.update
            )
        if processes.is_first:
            console.say(f"tasks: {choice}")
            if choice.num_by_chance:
                console.say(
                    f"warning: {choice.num_by_chance:,} tasks that were kept are no more "
                    "controllable than by chance; expected fewer, more candidates, or more data"
                )
        kept = choice.kept
        if cache:
            keep_arrays(cache, KEPT, kept)
    kept = np.asarray(from_first(kept))
    digest = hashlib.sha256(kept.tobytes()).hexdigest()
    return e._replace(indicator=indicator.candidates.keep(kept)), {"candidates_kept": digest}


def prepare_tasks(
    e: Experiment, key: jax.Array, cache: Cache | None, processes: Processes
) -> Tasks:
    """The tasks, prepared on the dataset. Shows a progress bar.

    Raises:
      UserError: the cache cannot be read or written, or no task varies.
    """
    if not e.indicator.num_tasks:
        return Tasks(e.indicator, (), (), None, np.zeros((1, 0), np.float32))
    total = e.transitions.num_rows // processes.size if cache else RATE_STATES
    with console.progress(total, "states", "responses", hidden=not processes.is_first) as bar:
        tasks = tasks_of_dataset(
            e.indicator, key, e.transitions, seed=e.config.seed, cache=cache, on_progress=bar.update
        )
    if e.indicator.loss is None:  # learned thresholds are not known yet
        check_varies(tasks)
    return tasks


def feed_of(
    e: Experiment,
    tasks: Tasks,
    returns: np.ndarray | None,
    parallel: Parallel,
    start: int,
    together: int,
) -> Feed:
    """The batches of the steps from `start` (counted from 0) to the end of the run.

    returns: float32 [N, T], Monte Carlo returns of all rows; None with the TD loss. together: steps
    of a dispatch.
    """
    c = e.config
    weights = np.array(c.dataset_weights, np.float64)
    buffer = Buffer(
        e.transitions,
        e.schedule,
        Sampler(c.seed, c.batch_size, weights / weights.sum() if len(weights) else None),
        start=start,
        rows=parallel.rows(c.batch_size),
        responses=tasks.responses,
        returns=returns,
        on_host=not e.on_device,
        together=together,
    )
    return Feed(
        *(buffer, parallel),
        start=start,
        num_steps=c.num_steps,
        on_device=e.on_device,
        device_draws=e.device_draws,
    )


def pretrain(
    e: Experiment,
    processes: Processes,
    place: str,
    overwrite: bool,
    profile_steps: tuple[int, int] | None = None,
) -> int:
    """Runs or resumes an experiment in `place`, local or `gs://`. Returns the exit status.

    profile_steps: (first, last), steps that the first process traces.

    Raises:
      UserError: the run directory or its checkpoints belong to another run, two datasets hold the
        same data, a file is corrupt, the processes differ, or the loss is not finite.
      OSError: a file cannot be written; the error names it.
    """
    c, transitions = e.config, e.transitions
    check_same(e)
    fingerprint = fingerprint_of(e)
    params_key, tasks_key = keys_of(c.seed)
    with contextlib.ExitStack() as stack:
        run: Run | None = None
        if processes.is_first:
            run = stack.enter_context(
                open_run(
                    place,
                    "pretrain",
                    identity_of(e, fingerprint),
                    overwrite=overwrite,
                    owns=OWNS,
                    pull=("metrics.jsonl", "checkpoints/*/manifest.json"),
                    may_change=MAY_CHANGE,
                )
            )
            stack.callback(publish, run)  # the last events
        wait_for_all()

        # ------------------------------------------------------------ tasks
        cache = cache_of(e, fingerprint, place, processes)
        e, chosen = choose_tasks(e, tasks_key, cache, processes)
        if run:
            run.identity |= chosen  # a checkpoint is of these tasks
        tasks = prepare_tasks(e, tasks_key, cache, processes)
        returns = None
        if c.loss == "monte_carlo":
            assert tasks.responses is not None
            returns = discounted_returns(
                tasks.cumulants(tasks.responses[:]),
                transitions.rows.episode,
                discounts_of_tasks(c.discount, c.num_tasks),
            )

        # ------------------------------------------------------------ the objective
        parallel = make_parallel(e.devices)
        optimizers = optimizers_of(c)
        objective = objective_of(e, tasks.indicator, parallel.axis_name)
        # ------------------------------------------------------------ resuming
        params = initial_params(e, params_key, tasks)
        state = init_train_state(objective, params, tasks.fitted, *optimizers)
        if run and (restored := restore(run, state)):
            state = restored
        state = from_first(state)
        start = int(state.step)
        if start >= c.num_steps:
            if run:
                export(e, state, fingerprint, run.workdir)
                console.say(f"{place}: complete at step {start:,}; features in {place}/features")
            return 0
        if run and start:
            console.say(f"{place}: resumes at step {start:,}")
            run.warn_of_changes()

        # ------------------------------------------------------------ the loop
        together = steps_together(e, start)
        step = compile_step(e, tasks.indicator, objective, optimizers, parallel, together)
        frozen = parallel.replicate(tasks.frozen)
        stop = stack.enter_context(console.orderly_stop())
        feed = stack.enter_context(feed_of(e, tasks, returns, parallel, start, together))
        recorder: Recorder | None = None
        if run:
            recorder = stack.enter_context(
                Recorder(
                    *(e, run, fingerprint, tasks, returns),
                    objective_of(e, tasks.indicator, None),
                    start,
                )
            )
        fill(feed, stop, hidden=run is None)
        stopped = int(parallel.agree(parallel.replicate(np.int32(0)), bool(stop))) > 0
        events = train(
            lambda number, state, arrays, batch: step(number, state, (frozen, arrays), batch),
            state,
            feed,
            parallel,
            num_steps=c.num_steps,
            log_every=c.log_every,
            save_every=c.checkpoint_every,
            save_seconds=60 * c.checkpoint_minutes,
            together=together,
            stop=lambda: stop,
        )
        profile = None
        if run and profile_steps:
            profile = stack.enter_context(Profile(profile_steps, run.workdir, place, together))
            profile.after(start)
        last = start
        with console.progress(c.num_steps, "steps", "pretrain", start, hidden=run is None) as bar:
            for event in () if stopped else events:
                match event:
                    case Stepped(step_taken):
                        bar.update(step_taken - last)
                        last = step_taken
                        if profile:
                            profile.after(last)
                    case Logged() if recorder:
                        bar.set_postfix_str(recorder.log(event))
                    case CheckpointDue(_, state) if recorder:
                        recorder.save(last, state)
        if recorder:
            recorder.check(wait=True)
        wait_for_all()  # a late signal must not end a process while the first one saves
    status = 0
    if last < c.num_steps:
        status = stop.status or 128 + signal.SIGTERM  # another process was signalled
    if not processes.is_first:
        return status
    if status:
        saved = "and saved " if last > start else ""
        console.say(f"{place}: stopped {saved}at step {last:,}; the same command resumes")
    else:
        console.say(f"{place}: {last:,} steps; features in {place}/features")
    return status


def restore(run: Run, state: TrainState) -> TrainState | None:
    """The state of the newest checkpoint that verifies; None if there is none.

    Raises:
      UserError: as `restore_checkpoint`.
    """
    restored: TrainState | None = restore_checkpoint(
        run.workdir / "checkpoints",
        state,
        run.identity,
        lambda line: console.say(run.named(line)),
        fetch=lambda name: run.pull(f"checkpoints/{name}"),
    )
    return restored


def fill(feed: Feed, stop: console.Stop, *, hidden: bool) -> None:
    """Reads the frames that the first step may draw. Shows a progress bar; a stop ends it."""
    with console.progress(feed.num_rows, "frames", "data", hidden=hidden) as bar:
        for count in feed.fill():
            bar.update(count)
            if stop:
                break


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    config = _CONFIG.value
    family, settings = find_family(cfg.name_in(config, "indicator", FIELDS["indicator"]))
    checked = cfg.check_config(config, FIELDS | INDICATORS | {family: settings})
    cfg.check_has_effect(INDICATORS, family, f"config.indicator={checked.indicator}")
    keep_freed_memory(checked.num_tasks, checked.num_features, checked.batch_size)
    with connect(_DISTRIBUTED.value, _ARRIVAL.value) as processes:
        experiment = prepare(checked, family, settings)
        if _DRY_RUN.value:
            if processes.is_first:
                print(format_sizes(size_run(experiment)))
            return 0
        return pretrain(
            experiment, processes, _WORKDIR.value, _OVERWRITE.value, _PROFILE_STEPS.value
        )


if __name__ == "__main__":
    console.run(
        main,
        memory="config.batch_size, config.num_tasks, config.num_features or config.data_memory_gib",
    )
