"""How near a train step is to its floor: what its layers take one by one, and Adam's bytes.

    python -m benchmarks.floor [--rounds=5] [--cases=nature:100:32,impala:1000:32]

Prints one JSON line for each case. `layers_ms` is the time of the step's convolutions and matrix
products (forward, backward, and the target's forward pass). Each is compiled and timed alone, on
arrays of noise in the default layout, without the time of a call that does nothing. `bytes_ms` is
the time that the memory needs for the bytes that Adam and the target's average must move, by the
bandwidth in the same run. The floor is their sum; `share_of_floor` is the floor divided by the time
of the step.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.extend.core import Jaxpr, jaxprs_in_params

from benchmarks.measure import ADDED_BYTES, Call, add_one, measure, print_row
from benchmarks.steps import our_step, ours
from pvn.pretraining.sizing import num_parameters
from pvn.runs import console

_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each case, of 4 timed calls.", lower_bound=1)
_CASES = flags.DEFINE_list(
    "cases",
    "nature:100:32,nature:1000:32,nature:10000:32,nature:100:256,impala:100:32,impala:1000:32",
    "encoder:T:batch, ...",
)


def layers_of(jaxpr: Jaxpr) -> Iterator[Any]:
    """The convolutions and matrix products of a traced function."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from layers_of(inner)


def layers(encoder: str, num_tasks: int, batch_size: int) -> Call:
    """A call that runs the layers of a step one after the other."""
    step = our_step(encoder, num_tasks, batch_size)
    jaxpr = jax.make_jaxpr(step.run)(step.state, step.frozen, step.batch).jaxpr
    random = np.random.default_rng(0)
    calls = []
    for equation in layers_of(jaxpr):
        inputs = [
            jnp.asarray(random.normal(size=x.aval.shape), x.aval.dtype) for x in equation.invars
        ]
        apply = functools.partial(equation.primitive.bind, **equation.params)
        calls.append((jax.jit(apply), inputs))
    return functools.partial(_one_by_one, calls)


def nothing(encoder: str, num_tasks: int, batch_size: int) -> Call:
    """A call that calls as many compiled functions, which do nothing."""
    step = our_step(encoder, num_tasks, batch_size)
    jaxpr = jax.make_jaxpr(step.run)(step.state, step.frozen, step.batch).jaxpr
    call = (jax.jit(lambda x: x + 1), [jnp.zeros(())])
    return functools.partial(_one_by_one, [call] * len(list(layers_of(jaxpr))))


def _one_by_one(calls: list[tuple[Any, list[jax.Array]]]) -> None:
    for function, inputs in calls:
        jax.block_until_ready(function(*inputs))


def update_bytes(encoder: str, num_tasks: int, batch_size: int) -> int:
    """Bytes that the update of the parameters and of the target must move, each array once.

    Parameters and two moments are read and written, and the gradient is read: 28 bytes a parameter.
    What the target keeps is read and written: 8 bytes each.
    """
    state = our_step(encoder, num_tasks, batch_size).state
    return 28 * num_parameters(state.params) + 8 * num_parameters(state.target_params)


def main() -> int:
    for case in _CASES.value:
        encoder, *numbers = case.split(":")
        num_tasks, batch_size = map(int, numbers)
        of_case = (encoder, num_tasks, batch_size)
        cases: dict[str, Callable[[], Call]] = {
            make.__name__: functools.partial(make, *of_case) for make in (ours, layers, nothing)
        }
        measured = measure({"memory": add_one, **cases}, _ROUNDS.value)
        bandwidth = ADDED_BYTES / measured["memory"].seconds
        step = measured["ours"].seconds
        alone = measured["layers"].seconds - measured["nothing"].seconds
        update = update_bytes(*of_case) / bandwidth
        print_row(
            encoder=encoder,
            num_tasks=num_tasks,
            batch_size=batch_size,
            ms=1e3 * step,
            layers_ms=1e3 * alone,
            bytes_ms=1e3 * update,
            share_of_floor=(alone + update) / step,
            bandwidth_gb_per_second=bandwidth / 1e9,
        )
    return 0


if __name__ == "__main__":
    console.run(main)
