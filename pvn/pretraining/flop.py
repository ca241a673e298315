"""Counts the FLOP of a function from its traced operations, for any device, without compiling it.

Multiplications and additions of matrix products and convolutions count. Elementwise operations do
not, and neither do products of a convolution with its padding or with the zeros of a dilation. XLA
has such a count too, but not for GPUs and TPUs before a program is compiled.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params


def count_flop(function: Callable[..., Any], *inputs: Any) -> int:
    """FLOP of a function of trees of arrays or shapes.

    A loop of unknown length counts as one iteration; of a condition all branches count.
    """
    return _flop(jax.make_jaxpr(function)(*inputs).jaxpr)


def _flop(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        match equation.primitive.name:
            case "dot_general":
                total += _of_product(equation)
            case "conv_general_dilated":
                total += _of_convolution(equation)
            case _:
                times = equation.params["length"] if equation.primitive.name == "scan" else 1
                total += times * sum(map(_flop, jaxprs_in_params(equation.params)))
    return total


def _of_product(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, _ = equation.invars
    terms = math.prod(left.aval.shape[axis] for axis in contracted)
    return 2 * math.prod(equation.outvars[0].aval.shape) * terms


def _of_convolution(equation: Any) -> int:
    p = equation.params
    left, right = (x.aval.shape for x in equation.invars)
    out, axes = equation.outvars[0].aval.shape, p["dimension_numbers"]
    products = 1
    for i, (low, _) in enumerate(p["padding"]):
        size, kernel = left[axes.lhs_spec[2 + i]], right[axes.rhs_spec[2 + i]]
        at = np.arange(out[axes.out_spec[2 + i]])[:, None] * p["window_strides"][i]
        at = at + np.arange(kernel) * p["rhs_dilation"][i] - low
        gap = p["lhs_dilation"][i]
        products *= int(np.sum((at >= 0) & (at <= (size - 1) * gap) & (at % gap == 0)))
    rows, channels = (out[axis] for axis in axes.out_spec[:2])
    return 2 * products * rows * channels * right[axes.rhs_spec[1]]
