"""How large runs are, by encoder, width, features, tasks and batch. Nothing is run or timed.

    python -m benchmarks.sizing

Prints one JSON line for each case, with 18 actions. `step`, with 512 features: GFLOP, the temporary
memory that the compiler plans (each case is compiled), and GFLOP divided by the bytes that a device
sends to sum the gradient over many devices in a ring, twice those of the gradient. `state`:
parameters, and bytes of the train state, which are those of a checkpoint. For a run of your own use
`python -m pvn.pretrain ... --dry_run`.
"""

import itertools

import jax
import jax.numpy as jnp
import optax
from absl import flags

from benchmarks.measure import print_row
from pvn.indicators.random_network import RandomNetwork
from pvn.learning.objectives import successor_objective
from pvn.learning.target_policies import TARGET_POLICIES
from pvn.learning.train_step import average_target, make_train_step
from pvn.networks.encoders import make_encoder
from pvn.networks.proto_value import make_proto_value_network
from pvn.pretraining.memory import num_bytes, temporary_bytes
from pvn.pretraining.sizing import (
    Step,
    num_parameters,
    shapes_of_params,
    state_shapes,
    step_flop,
)
from pvn.runs import console

_WIDTHS = flags.DEFINE_multi_integer("widths", [1, 2, 4, 8], "Widths of the encoders.")
_BATCHES = flags.DEFINE_list("batch_sizes", "32,256", "Batch sizes.")
_ENCODERS = flags.DEFINE_list("encoders", "nature,impala", "Encoders.")

TASKS = (100, 1000, 10_000)
NUM_ACTIONS = 18
ADAM = optax.adam(1e-3)
INDICATOR = RandomNetwork(proportion=0.05, tasks_per_network=50)


def step_of(encoder: str, width: int, num_features: int, num_tasks: int) -> Step:
    """The step of a run."""
    network = make_proto_value_network(
        make_encoder(encoder, width=width, num_features=num_features), num_tasks, NUM_ACTIONS
    )
    objective = successor_objective(
        network=network,
        indicator=INDICATOR.indicator(num_tasks),
        policy=TARGET_POLICIES["uniform"],
        gamma=0.95,
    )
    thresholds = jax.ShapeDtypeStruct((num_tasks,), jnp.float32)
    return Step(objective, shapes_of_params(network), thresholds, num_tasks)


def temporary(step: Step, batch_size: int) -> float:
    """Bytes of temporary memory of a step, as the compiler plans it for the first device."""
    run = make_train_step(
        objective=step.objective,
        indicator=INDICATOR.indicator(step.num_tasks),
        optimizer=ADAM,
        fitted_optimizer=ADAM,
        target_update=average_target(0.99),
    )
    _, _, batch = step.inputs(batch_size)
    state = state_shapes(step, (ADAM, ADAM))
    return temporary_bytes(lambda s, b: run(s, (), b), state, batch, donate=(0,))


def main() -> int:
    networks = list(itertools.product(_ENCODERS.value, _WIDTHS.value))
    for (encoder, width), tasks, batch in itertools.product(
        networks, TASKS, map(int, _BATCHES.value)
    ):
        step = step_of(encoder, width, 512, tasks)
        flop, gradient = sum(step_flop(step, batch)), num_bytes(step.params)
        print_row(
            case="step",
            encoder=encoder,
            width=width,
            num_tasks=tasks,
            batch_size=batch,
            gflop=flop / 1e9,
            gradient_mb=gradient / 1e6,
            flop_per_sent_byte=flop / (2 * gradient),
            temporary_gib=temporary(step, batch) / 2**30,
        )
    cases = [(encoder, width, 512) for encoder, width in networks]
    cases += [("nature", 1, 2048), ("nature", 1, 4096), ("impala", 8, 4096)]
    for (encoder, width, features), tasks in itertools.product(cases, TASKS):
        step = step_of(encoder, width, features, tasks)
        print_row(
            case="state",
            encoder=encoder,
            width=width,
            num_features=features,
            num_tasks=tasks,
            parameters=num_parameters(step.params),
            state_gib=num_bytes(state_shapes(step, (ADAM, ADAM))) / 2**30,
        )
    return 0


if __name__ == "__main__":
    console.run(main)
