"""A user's own family of tasks, with what its functions return checked."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pvn.errors import UserError
from pvn.indicators.indicator import Indicator, Params
from pvn.plugins import guarded

_OF_STATES = ("response", "cumulant", "raw_cumulant")


def own_indicator(name: str, family: Any, num_tasks: int) -> Indicator:
    """T tasks of a user's own family. Errors of its functions are one line.

    Args:
      name: `path/to/file.py:Name` or `package.module:Name`, for messages.
      family: the settings, with the method `indicator(num_tasks)`.
      num_tasks: T.

    Raises:
      UserError: the method fails, or does not return an `Indicator` of T tasks. The functions of
        the result raise it if they fail, or return something else than `Indicator` says. Responses
        and cumulants may be of any type that becomes float32.
    """
    given = guarded("indicator", name, family.indicator)(num_tasks)
    if not (isinstance(given, Indicator) and given.num_tasks == num_tasks):
        found = getattr(given, "num_tasks", type(given).__name__)
        raise UserError(
            f"indicator {name}: gave {found}, expected a pvn.indicators.indicator.Indicator of "
            f"{num_tasks} tasks"
        )
    functions: dict[str, Any] = {
        key: guarded("indicator", name, value)
        for key, value in given._asdict().items()
        if callable(value)
    }

    def of_states(key: str) -> Callable[[Params, jax.Array], jax.Array]:
        function = functions[key]

        def checked(params: Params, states: jax.Array) -> jax.Array:
            values = jnp.asarray(function(params, states), jnp.float32)
            if values.shape != (len(states), num_tasks):
                raise UserError(
                    f"indicator {name}: {key} gave an array {list(values.shape)}, expected "
                    f"{[len(states), num_tasks]} (states, tasks)"
                )
            return values

        return checked

    def init(key: jax.Array, observation: jax.Array) -> tuple[Params, Params]:
        found = functions["init"](key, observation)
        if not (isinstance(found, tuple) and len(found) == 2):
            raise UserError(f"indicator {name}: init gave no pair, expected (frozen, fitted)")
        return found

    def loss(fitted: Params, response: jax.Array) -> jax.Array:
        value = functions["loss"](fitted, response)
        if jnp.shape(value):
            raise UserError(
                f"indicator {name}: loss gave an array {list(jnp.shape(value))}, expected a scalar"
            )
        return value

    checked = {key: of_states(key) for key in _OF_STATES if key in functions} | {"init": init}
    if "loss" in functions:
        checked["loss"] = loss
    return given._replace(**functions | checked)
