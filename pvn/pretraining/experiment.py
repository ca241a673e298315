"""A pretraining experiment: the checked config and the objects it names. Writes nothing."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from pvn.data.joined import open_datasets, transitions_of
from pvn.data.schedule import Schedule, make_schedule
from pvn.data.store import Dataset, read_attributes, unfinished
from pvn.data.transitions import Transitions
from pvn.errors import UserError
from pvn.features.successor import check_numbers
from pvn.fields import (
    SEED,
    choice,
    choice_or_own,
    discounts,
    flag,
    paths,
    positives,
    real,
    text,
    whole,
)
from pvn.indicators.indicator import NO_TASKS, Indicator, shapes_of
from pvn.indicators.packed import response_columns
from pvn.indicators.registry import INDICATORS, make_indicator
from pvn.indicators.standardised import CUMULANTS
from pvn.learning.optimizers import OPTIMIZERS
from pvn.learning.parallel import check_divides
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.machine import usable_memory
from pvn.networks.encoders import ARCHITECTURE, DEFAULT_LAST_LAYER, make_encoder
from pvn.networks.network import Network
from pvn.networks.proto_value import (
    ProtoValueNetwork,
    make_inverse_network,
    make_proto_value_network,
)
from pvn.plugins import is_plugin
from pvn.pretraining.residency import devices_draw, frames_on_device, memory_of_device
from pvn.runs import console
from pvn.runs.cluster import processes_here
from pvn.types import ObservationSpec

FIELDS = {
    "dataset": paths(),
    "dataset_weights": positives(),
    "data_memory_gib": real(0, float("inf"), closed="[)"),
    "data_reuse": real(0, float("inf"), closed="()"),
    "data_residency": choice("auto", "host", "device"),
    "encoder": text(),
    **ARCHITECTURE,
    "num_tasks": whole(1, 2**31 - 1),
    "indicator": choice_or_own(*INDICATORS),
    "candidates_per_task": whole(1, 2**31 - 1),
    "responses": choice("cached", "in_step"),
    "cumulants": choice(*CUMULANTS),
    "loss": choice("td", "monte_carlo", "inverse_dynamics"),
    "discount": discounts(),
    "heads_bias": choice("zero", "fixed_point"),
    "next_states": choice("real", "shuffled"),
    "target_policy": choice(*TARGET_POLICIES),
    "target_update": choice("average", "periodic"),
    "target_decay": real(0, 1, closed="[)"),
    "target_period": whole(1, 2**31 - 1),
    "num_steps": whole(1),
    "batch_size": whole(1),
    "optimizer": choice(*OPTIMIZERS),
    "learning_rate": real(0, float("inf"), closed="()"),
    "learning_rate_warmup": whole(0, 2**31 - 1),
    "learning_rate_batch_exponent": real(0, 1, closed="[]"),
    "adam_epsilon": real(0, float("inf"), closed="()"),
    "max_gradient_norm": real(0, float("inf"), closed="[)"),
    "warmup_steps": whole(0),
    "threshold_learning_rate": real(0, float("inf"), closed="()"),
    "seed": SEED,
    "num_devices": whole(0),
    "steps_together": whole(0, 1000),
    "log_every": whole(1),
    "checkpoint_every": whole(1),
    "checkpoint_minutes": real(0, float("inf"), closed="()"),
    "keep_checkpoints": whole(1),
    "export_successor": flag(),
}


class Experiment(NamedTuple):
    """A checked config, and the data and functions that it names."""

    config: ml_collections.FrozenConfigDict
    family: str  # name of the config section with the indicator's settings
    devices: list[jax.Device]  # of all processes
    dataset: Dataset
    transitions: Transitions
    schedule: Schedule
    encoder: Network
    network: ProtoValueNetwork | Network  # a plain one with inverse dynamics
    indicator: Indicator  # NO_TASKS with inverse dynamics
    on_device: bool  # whether the frames are in device memory
    device_draws: bool  # whether the devices draw the batches, and have all that these need

    @property
    def cached(self) -> bool:
        """Whether the responses of the tasks are computed once for each state."""
        return self.config.responses == "cached" and self.indicator.num_tasks > 0

    @property
    def packed(self) -> bool:
        """Whether the cached responses are bits."""
        return self.cached and self.indicator.binary

    @property
    def exports_successor(self) -> bool:
        """Whether heads and tasks are saved beside the features: those of shuffled states mean
        nothing."""
        c = self.config
        return c.export_successor and self.indicator.num_tasks > 0 and c.next_states == "real"

    @property
    def response_bytes(self) -> int:
        """Bytes of the cached response to a state; 0 if none is cached."""
        return _response_bytes(self.config, self.indicator)

    @property
    def last_layer(self) -> dict[str, str]:
        """The fields of the last layer. They have no effect on a user's own encoder: defaults."""
        own = is_plugin(self.config.encoder)
        return DEFAULT_LAST_LAYER if own else {key: self.config[key] for key in DEFAULT_LAST_LAYER}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a row of the network's input: an observation, or a pair of them."""
        pair = (2,) if self.config.loss == "inverse_dynamics" else ()
        return (*pair, *self.observation.shape)

    @property
    def observation(self) -> ObservationSpec:
        """What an observation is."""
        return self.dataset.rows.observation

    @property
    def example(self) -> jax.Array:
        """An observation uint8 [1, H, W, C] of zeros, by which networks are initialised."""
        return jnp.zeros((1, *self.observation.shape), jnp.uint8)


def prepare(c: ml_collections.FrozenConfigDict, family: str, settings: type) -> Experiment:
    """Opens the data and makes the networks that the config names. Writes nothing.

    Args:
      c: the config, each field checked.
      family: name of the config section with the indicator's settings.
      settings: the NamedTuple of these settings (see `find_family`).

    Raises:
      UserError: a dataset, encoder or indicator cannot be used, or fields contradict each other.
    """
    devices = jax.devices()[: c.num_devices or None]
    inverse = c.loss == "inverse_dynamics"
    indicator = (
        NO_TASKS
        if inverse
        else make_indicator(
            *(c.indicator, settings(**c[family]), c.num_tasks, c.cumulants, c.candidates_per_task)
        )
    )
    dataset = open_datasets(c.dataset.split(","))
    observation = dataset.rows.observation
    encoder = make_encoder(
        c.encoder,
        width=c.width,
        num_features=c.num_features,
        dtype=c.dtype,
        feature_norm=c.feature_norm,
        feature_activation=c.feature_activation,
        observation_shape=observation.shape,
    )
    for path in dataset.paths:
        if what := unfinished(read_attributes(path)):
            console.say(f"warning: dataset {path}: {what}")
    transitions = transitions_of(dataset, max(c.discount) if c.loss == "monte_carlo" else None)
    memory = memory_of_device(jax.local_devices()[0])
    on_device = frames_on_device(
        c.data_residency,
        devices[0].platform,
        frame_bytes=transitions.num_rows * observation.frame_bytes,
        memory=memory,
        limited=c.data_memory_gib > 0,
    )
    host = usable_memory() // processes_here()  # a collective: every process must come here
    schedule = make_schedule(
        c.seed,
        transitions,
        batch_size=c.batch_size,
        row_bytes=observation.frame_bytes + _response_bytes(c, indicator),
        budget=int(c.data_memory_gib * 2**30) or None,
        memory=(memory if on_device else 0) or host,
        reuse=c.data_reuse,
    )
    check_together(c, indicator, schedule, on_device, len(devices), len(dataset.paths))
    if (needed := returns_bytes(c, transitions)) > host:
        raise UserError(
            f"config.loss: monte_carlo keeps returns of {c.num_tasks:,} tasks, which take "
            f"{needed / 2**30:,.3g} GiB, and a process may use {host / 2**30:,.3g}; expected fewer "
            "tasks or less data"
        )
    if observation.stack < indicator.stack:
        raise UserError(
            f"config.{family}: its tasks compare {indicator.stack} frames, expected tasks of one: "
            f"an observation of {dataset.attributes['game']} has {observation.stack}"
        )
    num_actions = dataset.attributes["num_actions"]
    network = (
        make_inverse_network(encoder, num_actions)
        if inverse
        else make_proto_value_network(encoder, c.num_tasks, num_actions)
    )
    # Monte Carlo returns of many tasks are larger than the frames: they stay on the host.
    uniform = not c.dataset_weights and c.loss != "monte_carlo"
    e = Experiment(
        *(c, family, devices, dataset, transitions, schedule, encoder, network, indicator),
        on_device=on_device,
        device_draws=on_device
        and uniform
        and devices_draw(
            transitions, schedule, response_bytes=_response_bytes(c, indicator), memory=memory
        ),
    )
    # Raises if the tasks cannot be drawn.
    params = shapes_of(indicator, e.example, own=is_plugin(c.indicator))
    if e.exports_successor:
        check_numbers(c.indicator, *params)
    return e


def returns_bytes(c: ml_collections.FrozenConfigDict, transitions: Transitions) -> int:
    """Bytes of Monte Carlo returns, with the cumulants they are made of; 0 for other losses."""
    return 2 * transitions.num_rows * 4 * c.num_tasks if c.loss == "monte_carlo" else 0


def _response_bytes(c: ml_collections.FrozenConfigDict, indicator: Indicator) -> int:
    if c.responses != "cached":
        return 0
    columns, dtype = response_columns(indicator.num_tasks, indicator.binary)
    return columns * dtype.itemsize


def check_together(
    c: ml_collections.FrozenConfigDict,
    indicator: Indicator,
    schedule: Schedule,
    on_device: bool,
    num_devices: int,
    num_datasets: int,
) -> None:
    """Checks the fields against each other and against the data and devices.

    Raises:
      UserError: fields that are valid alone contradict each other; the message names one.
    """
    if num_devices < c.num_devices:
        raise UserError(f"config.num_devices: {c.num_devices}, there are {num_devices}")
    if num_devices < jax.device_count() and jax.process_count() > 1:
        raise UserError(
            f"config.num_devices: {c.num_devices}, expected 0: several processes use all their "
            f"{jax.device_count()} devices"
        )
    check_divides(c.batch_size, num_devices)
    if on_device and schedule.moves and jax.process_count() > 1:
        raise UserError(
            "config.data_residency: device, expected host: several processes cannot move a buffer "
            "through device memory"
        )
    if c.dataset_weights and len(c.dataset_weights) != num_datasets:
        raise UserError(
            f"config.dataset_weights: {len(c.dataset_weights)} of them, expected one for each of "
            f"{num_datasets} datasets"
        )
    if c.warmup_steps and indicator.loss is None:
        raise UserError(
            f"config.warmup_steps: {c.warmup_steps}, expected 0: there are no thresholds to regress"
        )
    if c.warmup_steps >= c.num_steps:
        raise UserError(
            f"config.warmup_steps: {c.warmup_steps}, expected less than num_steps, {c.num_steps}: "
            "the encoder learns after them"
        )
    if len(c.discount) > c.num_tasks:
        raise UserError(
            f"config.discount: {len(c.discount)} of them, expected at most num_tasks, {c.num_tasks}"
        )
    if c.loss == "monte_carlo" and (c.responses != "cached" or indicator.loss is not None):
        raise UserError(
            "config.loss: monte_carlo needs cumulants known beforehand, expected responses cached "
            "and threshold_from dataset"
        )
    if c.next_states == "shuffled" and c.loss != "td":
        raise UserError(f"config.next_states: shuffled, expected real with config.loss={c.loss}")
    if c.next_states == "shuffled" and c.batch_size == 1:
        raise UserError("config.batch_size: 1, expected 2 or more with config.next_states=shuffled")
    if c.heads_bias == "fixed_point" and (c.loss == "inverse_dynamics" or indicator.loss):
        raise UserError(
            "config.heads_bias: fixed_point needs cumulants known beforehand, expected zero with "
            "config.loss=inverse_dynamics and with threshold_from=quantile_regression"
        )
    if c.heads_bias == "fixed_point" and c.cumulants == "standardised":
        raise UserError(
            "config.heads_bias: fixed_point, expected zero with config.cumulants=standardised, "
            "whose mean is 0"
        )
    if c.loss == "monte_carlo" and schedule.moves:
        raise UserError(
            "config.loss: monte_carlo needs all returns in memory, expected config.data_memory_gib "
            "0, or large enough for the whole dataset"
        )


def keys_of(seed: int) -> tuple[jax.Array, jax.Array]:
    """The keys of the network's first parameters and of the tasks."""
    params_key, tasks_key = jax.random.split(jax.random.key(seed))
    return params_key, tasks_key
