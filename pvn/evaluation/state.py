"""The state of an object as arrays by name, which a checkpoint stores."""

import json
from collections.abc import Mapping

import numpy as np

State = Mapping[str, np.ndarray]
"""Everything that changes in an object: name -> array. No array has dtype object."""


def with_prefix(prefix: str, state: State) -> State:
    """The state with a prefix before each name."""
    return {prefix + name: value for name, value in state.items()}


def without_prefix(prefix: str, state: State) -> State:
    """What `with_prefix` was called with, of a state that may hold more."""
    return {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}


def generator_state(random: np.random.Generator) -> np.ndarray:
    """The state of a random number generator: a string array [] of JSON."""
    return np.array(json.dumps(random.bit_generator.state))


def restore_generator(random: np.random.Generator, state: np.ndarray) -> None:
    """Puts a generator of the same kind into the state that `generator_state` returned."""
    random.bit_generator.state = json.loads(str(state))
