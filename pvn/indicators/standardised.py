"""Cumulants that are centred, and scaled to variance 1 over the dataset.

A raw indicator with mean p has the value p / (1 - gamma) plus what depends on the state. The first
part is the same in every state, and outweighs the second in the loss. A task that is rarely on also
has a small variance, and so little weight. Standardised tasks have neither.

An indicator that is on in less than 1 % of the states, or off in so few, is scaled like one of 1 %.
Otherwise a task of one state in 10,000 would be 100 there, and such states most of the loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.indicators.indicator import Indicator

CUMULANTS = ("raw", "standardised")

_LEAST_STD = np.sqrt(0.01 * 0.99)  # of a cumulant of zeros and ones


def moments(values: np.ndarray) -> dict[str, np.ndarray]:
    """{"mean": float32 [T], "scale": float32 [T]} of values [M, T].

    The scale is 1 / the standard deviation, or 0 for a task that does not vary.
    """
    # A few tasks at a time: the standard deviation makes a copy in float64.
    blocks = [values[:, at : at + 64] for at in range(0, values.shape[1], 64)]
    mean = np.concatenate([block.mean(axis=0, dtype=np.float64) for block in blocks])
    std = np.concatenate([block.std(axis=0, dtype=np.float64) for block in blocks])
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    return {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}


def standardised(indicator: Indicator) -> Indicator:
    """The same tasks with cumulants of mean 0 and variance 1 (less for rare indicators).

    The mean and variance are over the states of `fit`.

    Raises:
      UserError: training changes the tasks, so their mean and variance are not known before it. The
        returned `init` raises it for a family that has fitted parameters but no `fit`.
    """
    if indicator.loss is not None:
        raise UserError(
            "config.cumulants: standardised, expected raw where training learns the thresholds "
            "(threshold_from is quantile_regression)"
        )

    def init(key: jax.Array, observation: jax.Array) -> tuple[Any, dict[str, Any]]:
        frozen, fitted = indicator.init(key, observation)
        if indicator.fit is None and jax.tree.leaves(fitted):
            raise UserError(
                "config.cumulants: standardised, expected raw for an indicator with fitted "
                "parameters and no function `fit`"
            )
        mean = jnp.zeros(indicator.num_tasks, jnp.float32)
        return frozen, {"raw": fitted, "mean": mean, "scale": mean + 1}

    def fit(responses: np.ndarray) -> dict[str, Any]:
        raw = indicator.fit(responses) if indicator.fit else ()
        cumulants = np.asarray(jax.jit(indicator.cumulant)(raw, responses))
        fitted = {"raw": raw, **moments(cumulants)}
        if indicator.binary or np.isin(cumulants, (0, 1)).all():
            fitted["scale"] = np.minimum(fitted["scale"], np.float32(1 / _LEAST_STD))
        return fitted

    def raw_cumulant(fitted: dict[str, Any], responses: jax.Array) -> jax.Array:
        return indicator.cumulant(fitted["raw"], responses)

    def standardise(fitted: dict[str, Any], values: jax.Array) -> jax.Array:
        return (values - fitted["mean"][None]) * fitted["scale"][None]

    def cumulant(fitted: dict[str, Any], responses: jax.Array) -> jax.Array:
        return standardise(fitted, raw_cumulant(fitted, responses))

    return indicator._replace(
        init=init, cumulant=cumulant, fit=fit, raw_cumulant=raw_cumulant, standardise=standardise
    )
