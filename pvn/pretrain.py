"""Pretrains an encoder, without rewards, on the successor measure of many tasks.

    python -m pvn.pretrain --config=configs/pretrain.py \
        --config.dataset=data/breakout --workdir=runs/breakout

The run directory holds config.json, metrics.jsonl, TensorBoard events, checkpoints/, features/.
The same command goes on from the newest checkpoint, bit for bit. SIGTERM and Ctrl-C save first;
the exit status is then 143 or 130.
"""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags

from pvn import config as cfg
from pvn import console
from pvn.data.collection import find_transitions, open_collection
from pvn.data.prefetch import Prefetch
from pvn.data.resident import Load, Resident
from pvn.data.returns import discounted_returns
from pvn.data.sampler import uniform_indices
from pvn.data.schedule import make_schedule
from pvn.data.stack import episode_bounds, gather_windows
from pvn.data.store import FRAME_BYTES, read_attributes, unfinished
from pvn.errors import UserError
from pvn.features import Features, save_features
from pvn.fields import choice, flag, positives, real, text, whole
from pvn.files import sha256
from pvn.indicators.registry import INDICATORS, INDICATORS_VERSION, make_indicator
from pvn.indicators.responses import cached_responses, compute_responses, read_responses
from pvn.learning.checkpoint import restore_checkpoint, save_checkpoint
from pvn.learning.device_frames import DeviceRing, gather
from pvn.learning.diagnostics import activation_metrics, make_diagnostics
from pvn.learning.losses import TARGET_POLICIES
from pvn.learning.optimizers import OPTIMIZERS, make_optimizer, scaled_learning_rate
from pvn.learning.parallel import check_divides, make_parallel
from pvn.learning.train_step import (
    TrainState,
    average_target,
    init_train_state,
    make_train_step,
    mean_metrics,
    periodic_target,
    reset_totals,
    stack,
)
from pvn.networks.encoders import make_encoder
from pvn.networks.proto_value import make_proto_value_network
from pvn.plugins import plugin_file
from pvn.run_directory import MetricsWriter, open_run, versions
from pvn.types import Window

_CONFIG = cfg.define_config("configs/pretrain.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run that is in --workdir.")

FIELDS = {
    "dataset": text(),
    "dataset_weights": positives(),
    "data_memory_gib": real(0, float("inf"), closed="[)"),
    "data_reuse": real(0, float("inf"), closed="()"),
    "data_residency": choice("host", "device"),
    "encoder": text(),
    "width": whole(1),
    "num_features": whole(1),
    "dtype": choice("float32", "bfloat16"),
    "num_tasks": whole(1),
    "indicator": choice(*INDICATORS),
    "proportion": real(0, 1, closed="()"),
    "threshold_from": choice("dataset", "quantile_regression"),
    "tasks_per_network": whole(1),
    "final_relu": flag(),
    "responses": choice("cached", "in_step"),
    "loss": choice("td", "monte_carlo"),
    "discount": real(0, 1, closed="[)"),
    "target_policy": choice(*TARGET_POLICIES),
    "target_update": choice("average", "periodic"),
    "target_decay": real(0, 1, closed="[)"),
    "target_period": whole(1),
    "num_steps": whole(1),
    "batch_size": whole(1),
    "optimizer": choice(*OPTIMIZERS),
    "learning_rate": real(0, float("inf"), closed="()"),
    "learning_rate_batch_exponent": real(0, 1, closed="[]"),
    "adam_epsilon": real(0, float("inf"), closed="()"),
    "max_gradient_norm": real(0, float("inf"), closed="[)"),
    "warmup_steps": whole(0),
    "threshold_learning_rate": real(0, float("inf"), closed="()"),
    "seed": whole(0, 2**31 - 1),
    "num_devices": whole(0),
    "log_every": whole(1),
    "checkpoint_every": whole(1),
    "keep_checkpoints": whole(1),
}
MAY_CHANGE = (
    *("num_steps", "num_devices", "checkpoint_every", "keep_checkpoints", "data_residency"),
)
OWNS = ("checkpoints", "features", "responses", "tensorboard", "metrics.jsonl")

# Steps that no run reaches, for the draws that are made once.
_PROBE_STEP, _SAMPLE_STEP = 2**64 - 1, 2**64 - 2
_PROBE_TRANSITIONS = 512  # for rank and explained variance
_RATE_STATES = 8192  # for activation rates; where responses are not cached, half of them
_FIT_STATES = 65_536  # for thresholds, where there are more


@contextlib.contextmanager
def filled(
    resident: Resident, start: int, ring: DeviceRing | None, stop: console.Stop
) -> Iterator[None]:
    """Opens `resident` with all in memory that step `start` may draw, unless there is a stop."""
    with resident:
        with console.progress(resident.num_ring_rows, "frames", "data") as bar:
            for load in resident.loads(start):
                if ring:
                    ring.store(load)
                bar.update(len(load.frames))
                if stop:
                    break
        yield


def memory_for_data(device: jax.Device | None) -> int:
    """Bytes of memory that there are: of the device, where it tells, or of the machine."""
    stats = (device.memory_stats() if device else None) or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def pretrain(c: ml_collections.FrozenConfigDict, workdir: Path, overwrite: bool) -> int:
    """Runs the experiment `c` in `workdir`, from where it stands. Returns the exit status."""
    devices = jax.devices()[: c.num_devices or None]
    if len(devices) < c.num_devices:
        raise UserError(f"config.num_devices: {c.num_devices}, there are {len(devices)}")
    check_divides(c.batch_size, len(devices))

    # ---------------------------------------------------------------- data
    paths = [path.strip() for path in c.dataset.split(",")]
    if c.dataset_weights and len(c.dataset_weights) != len(paths):
        raise UserError(
            f"config.dataset_weights: {len(c.dataset_weights)} of them, expected one for each of "
            f"{len(paths)} datasets"
        )
    monte_carlo = c.loss == "monte_carlo"
    dataset = open_collection(paths)
    for path in paths:
        if what := unfinished(read_attributes(path)):
            console.say(f"warning: dataset {path}: {what}")
    valid, groups = find_transitions(dataset, c.discount if monte_carlo else None)
    rows, bounds = dataset.rows, episode_bounds(dataset.rows.episode)
    num_actions = dataset.attributes["num_actions"]

    # ---------------------------------------------------------------- networks and tasks
    encoder = make_encoder(c.encoder, width=c.width, num_features=c.num_features, dtype=c.dtype)
    network = make_proto_value_network(encoder, c.num_tasks, num_actions)
    task_settings = {
        key: c[key]
        for key in ("num_tasks", "proportion", "threshold_from", "tasks_per_network", "final_relu")
    }
    indicator = make_indicator(c.indicator, **task_settings)
    params_key, tasks_key = jax.random.split(jax.random.key(c.seed))

    if c.warmup_steps and indicator.loss is None:
        raise UserError(
            f"config.warmup_steps: {c.warmup_steps}, expected 0: nothing is regressed with "
            f"indicator {c.indicator} and threshold_from {c.threshold_from}"
        )
    if monte_carlo and (c.responses != "cached" or indicator.loss is not None):
        raise UserError(
            "config.loss: monte_carlo needs cumulants known beforehand, expected responses cached "
            "and threshold_from dataset"
        )
    cached, on_device = c.responses == "cached", c.data_residency == "device"
    schedule = make_schedule(
        c.seed,
        groups,
        valid,
        row_bytes=FRAME_BYTES + 4 * c.num_tasks * cached,
        fixed_bytes=sum(x.nbytes for x in (*rows[1:], *bounds, valid)),
        budget=int(c.data_memory_gib * 2**30) or None,
        memory=memory_for_data(devices[0] if on_device else None),
        reuse=c.data_reuse,
    )
    if monte_carlo and schedule.rotates:
        raise UserError(
            "config.loss: monte_carlo needs all returns in memory, expected config.data_memory_gib "
            "0, or large enough for the whole dataset"
        )
    identity = {
        **c.to_dict(),
        "dataset_fingerprint": dataset.fingerprint,
        "indicators_version": INDICATORS_VERSION,
    }
    if (file := plugin_file(c.encoder)) is not None:
        identity["encoder_sha256"] = sha256(file)
    open_run(
        workdir, "pretrain", identity, overwrite=overwrite, owns=OWNS, may_change=MAY_CHANGE
    ).__enter__()

    frozen, fitted = indicator.init(tasks_key)
    responses = None
    if cached:
        with console.progress(len(rows.action), "states", "responses") as bar:
            responses = cached_responses(
                workdir / "responses",
                {"indicator": c.indicator, "seed": c.seed, "dataset": dataset.fingerprint}
                | task_settings,
                indicator,
                frozen,
                rows,
                c.num_tasks,
                bar.update,
            )
        frozen = ()
        fit_on = valid
        if len(valid) > _FIT_STATES:
            draws = uniform_indices(c.seed, _SAMPLE_STEP, _FIT_STATES, len(valid))
            fit_on = valid[np.sort(draws)]
        to_fit = responses[fit_on]
        to_rate = to_fit[:: max(1, len(fit_on) // _RATE_STATES)].copy()
    else:
        states = valid[uniform_indices(c.seed, _SAMPLE_STEP, _RATE_STATES, len(valid))]
        with console.progress(_RATE_STATES, "states", "responses") as bar:
            sample = compute_responses(indicator, frozen, rows, states, bar.update)
        # Rates are measured on other states than the thresholds were fitted on.
        to_fit, to_rate = sample[::2], sample[1::2]
    if indicator.fit is not None:
        fitted = indicator.fit(to_fit)
    del to_fit
    cumulant = jax.jit(indicator.cumulant)
    returns = None
    if monte_carlo:
        assert responses is not None
        cumulants = np.asarray(cumulant(fitted, responses))
        returns = discounted_returns(cumulants, rows.episode, c.discount)

    # ---------------------------------------------------------------- the step
    rate = scaled_learning_rate(1.0, c.batch_size, c.learning_rate_batch_exponent)
    optimizer = make_optimizer(
        c.optimizer,
        learning_rate=c.learning_rate * rate,
        epsilon=c.adam_epsilon,
        max_gradient_norm=c.max_gradient_norm,
    )
    fitted_optimizer = make_optimizer(
        "adam",
        learning_rate=c.threshold_learning_rate * rate,
        epsilon=c.adam_epsilon,
        max_gradient_norm=0.0,
    )
    parallel, axis_name = make_parallel(devices)

    def compiled_step(warmup: bool) -> Any:
        step = make_train_step(
            network=network,
            indicator=indicator,
            optimizer=optimizer,
            fitted_optimizer=fitted_optimizer,
            next_value=TARGET_POLICIES[c.target_policy],
            target_update=average_target(c.target_decay)
            if c.target_update == "average"
            else periodic_target(c.target_period),
            gamma=c.discount,
            warmup=warmup,
            axis_name=axis_name,
        )

        def run(state: TrainState, data: tuple[Any, Any], window: Window) -> TrainState:
            frozen, ring = data
            return step(state, frozen, stack(gather(ring, window) if on_device else window))

        return parallel.compile(run)

    warmup_step, train_step = compiled_step(warmup=True), compiled_step(warmup=False)
    diagnose = make_diagnostics(
        network=network,
        encoder=encoder,
        indicator=indicator,
        next_value=TARGET_POLICIES[c.target_policy],
        gamma=c.discount,
    )

    # ---------------------------------------------------------------- where the run stands
    observation = jnp.zeros((1, 84, 84, 4), jnp.uint8)
    params = jax.jit(network.init)(params_key, observation)
    state = init_train_state(params, fitted, optimizer, fitted_optimizer)
    restored = restore_checkpoint(workdir / "checkpoints", state, console.say)
    if restored is not None:
        state, _ = restored
    start = int(state.step)

    def save_encoder(state: TrainState) -> None:
        learned = Features(
            encoder,
            jax.device_get(state.params["encoder"]),
            {
                "encoder": c.encoder,
                "width": c.width,
                "num_features": c.num_features,
                "dtype": c.dtype,
                "agent": "pvn",
                "seed": c.seed,
                "step": int(state.step),
                "versions": versions(),
                "game": dataset.attributes["game"],
                "num_actions": num_actions,
                "protocol": dataset.attributes["protocol"],
                "dataset": {
                    "path": c.dataset,
                    "fingerprint": dataset.fingerprint,
                    "num_transitions": len(valid),
                    "source": dataset.attributes["source"],  # a list, of several
                },
                "pretraining": c.to_dict(),
            },
        )
        save_features(workdir / "features", learned)

    def save(state: TrainState) -> None:
        metadata = {"config": c.to_dict(), "dataset": dataset.fingerprint, "seed": c.seed}
        save_checkpoint(
            workdir / "checkpoints", int(state.step), state, metadata, c.keep_checkpoints
        )
        save_encoder(state)

    def check_finite(state: TrainState) -> None:
        if bad := int(state.first_bad_step):
            raise UserError(
                f"{workdir}: the loss or its gradient is not finite at step {bad}; the last "
                "checkpoint is from before it. Lower config.learning_rate or set "
                "config.max_gradient_norm"
            )

    if start >= c.num_steps:
        save_encoder(state)  # a kill may have come between the checkpoint and the features
        console.say(f"{workdir}: complete at step {start:,}; features in {workdir / 'features'}")
        return 0

    # ---------------------------------------------------------------- the loop
    probe = valid[uniform_indices(c.seed, _PROBE_STEP, _PROBE_TRANSITIONS, len(valid))]
    probe_transitions = jax.jit(stack)(gather_windows(rows, bounds, probe, responses, returns))
    del responses
    weights = np.array(c.dataset_weights, np.float64)
    resident = Resident(
        rows,
        bounds,
        valid,
        schedule,
        seed=c.seed,
        batch_size=c.batch_size,
        start=start,
        shares=weights / weights.sum() if len(weights) else None,
        responses=functools.partial(read_responses, workdir / "responses") if cached else None,
        returns=returns,
        on_host=not on_device,
    )
    ring: DeviceRing | None = None
    if on_device:
        ring = DeviceRing(parallel, resident.num_ring_rows, resident.block_rows)
    metrics = MetricsWriter(workdir, start)
    placed, frozen_placed = parallel.replicate(state), parallel.replicate(frozen)

    def prepare(step: int) -> tuple[list[Load], Window]:
        if on_device:
            return list(resident.loads(step)), parallel.split(resident.places(step))
        return [], parallel.split(resident.batch(step))

    ticket = placed.step + 0
    with (
        console.orderly_stop() as stop,
        filled(resident, start, ring, stop),
        console.progress(c.num_steps, "steps", "pretrain", start) as bar,
        Prefetch(map(prepare, range(start, start if stop else c.num_steps))) as batches,
    ):
        step, began, waited, logged = start, time.perf_counter(), 0.0, start
        for step, (loads, window) in enumerate(batches, start + 1):
            for load in loads:
                assert ring
                ring.store(load)
            run_step = warmup_step if step <= c.warmup_steps else train_step
            placed = run_step(placed, (frozen_placed, ring.frames if ring else ()), window)
            # One step in flight: the next is queued while this one runs, and a stop is prompt.
            # (The state itself may be donated to the next step; the ticket is a copy.)
            jax.block_until_ready(ticket)
            ticket = placed.step + 0
            bar.update()
            done = step == c.num_steps
            if step % c.log_every == 0 or done:
                state = parallel.unreplicate(placed)
                check_finite(state)
                values = mean_metrics(state)
                values |= activation_metrics(np.asarray(cumulant(state.fitted, to_rate)))
                values |= diagnose(state, frozen, probe_transitions)
                now = time.perf_counter()
                speed = (step - logged) / (now - began)
                values |= {
                    "steps_per_second": speed,
                    "transitions_per_second": speed * c.batch_size,
                    "data_wait_share": (batches.waited - waited) / (now - began),
                }
                began, waited, logged = now, batches.waited, step
                metrics.write(step, values)
                bar.set_postfix_str(
                    f"{speed * c.batch_size:,.0f} transitions/s, td_loss {values['td_loss']:.2g}, "
                    f"explained {values['explained_variance']:.2f}, "
                    f"rank {values['feature_rank']}"
                )
                placed = parallel.replicate(reset_totals(state))
            if stop or done or step % c.checkpoint_every == 0:
                state = parallel.unreplicate(placed)
                check_finite(state)
                save(state)
            if stop:
                break
    metrics.close()
    if stop:
        saved = "and saved " if step > start else ""
        console.say(f"{workdir}: stopped {saved}at step {step:,}; the same command resumes")
    else:
        console.say(f"{workdir}: {step:,} steps; features in {workdir / 'features'}")
    return stop.status


def main() -> int:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    config = cfg.check_config(_CONFIG.value, FIELDS)
    return pretrain(config, Path(_WORKDIR.value), _OVERWRITE.value)


if __name__ == "__main__":
    console.run(main)
