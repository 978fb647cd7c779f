"""What normalisations and their gradients share: standardised elements, in nodes and in numpy, and shape rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.graph import Value
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType, f32
from chainrule.ops.activations import number
from chainrule.ops.arithmetic import square
from chainrule.ops.elementwise import add, cast, mul, sub
from chainrule.ops.reduce import mean
from chainrule.ops.shape_rules import require, same_dtype
from chainrule.ops.shaping import listed
from chainrule.ops.transcendental import rsqrt


def standardised(x: Value, axes: Sequence[int], eps: float) -> tuple[Value, Value]:
    """(x - mean) / sqrt(var + eps) over axes, and the factor 1 / sqrt(var + eps), with the axes kept as 1."""
    centred = sub(x, mean(x, axes, keepdims=True))
    scale = rsqrt(add(mean(square(centred), axes, keepdims=True), number(eps, x)))
    return mul(centred, scale), scale


def over_power(x: Value, axes: Sequence[int], eps: float) -> tuple[Value, Value]:
    """x / sqrt(mean(x^2) + eps) over axes, and the factor, with the axes kept as 1."""
    scale = rsqrt(add(mean(square(x), axes, keepdims=True), number(eps, x)))
    return mul(x, scale), scale


def wide(x: Value) -> Value:
    """x, in f32 where it is narrower."""
    return cast(x, f32) if x.dtype.bits < 32 else x


def in_f32(function: Callable[..., Value], inputs: Sequence[Value]) -> Value:
    """function of the inputs in f32 where they are narrower, rounded once at the end."""
    return cast(function(*(wide(v) for v in inputs)), inputs[0].dtype)


def last_axes(rank: int, trailing: int) -> tuple[int, ...]:
    """The last `trailing` of `rank` axes."""
    return tuple(range(rank - trailing, rank))


def in_double(function: Callable[..., Array], arrays: Sequence[Array]) -> Array:
    """function of all arrays in float64, rounded once to their own type."""
    with np.errstate(all="ignore"):
        return np.asarray(function(*(x.astype(np.float64) for x in arrays))).astype(arrays[0].dtype)


def mean_array(x: Array, axes: Sequence[int]) -> Array:
    """The mean over axes, kept as 1; NaN of nothing."""
    count = math.prod(x.shape[a] for a in axes)
    return np.sum(x, tuple(axes), keepdims=True) / np.float64(count)


def standard_array(x: Array, axes: Sequence[int], eps: float) -> tuple[Array, Array, Array]:
    """The standardised elements, the mean and the variance, in two passes."""
    middle = mean_array(x, axes)
    var = mean_array((x - middle) ** 2, axes)
    return (x - middle) / np.sqrt(var + eps), middle, var


def check_eps(types: Sequence[TensorType], eps: float) -> None:
    """Raises DTypeError and ArgumentError unless all are floats of one type and eps is not negative."""
    same_dtype(*types)
    require("f", types[0])
    if not eps >= 0:
        raise ArgumentError(f"eps={eps} is negative", help="eps is a small positive number")


def check_trailing(types: Sequence[TensorType], trailing: int, eps: float) -> TensorType:
    """The type of x, the first; gamma and beta, where given, are of its last axes. Raises as LayerNorm says."""
    check_eps(types, eps)
    x = types[0]
    if not 1 <= trailing <= x.rank:
        raise ArgumentError(f"it normalises the last {trailing} axes, x has {x.rank}",
                            help="at least one axis, at most those of x")  # fmt: skip
    shape = x.shape[x.rank - trailing :]
    for what, given in zip(("gamma", "beta"), types[1:]):
        if given.shape != shape:
            raise ShapeError(f"{what} is {given}, the normalised axes are {listed(shape)}",
                             help=f"{what} has one element for each of them")  # fmt: skip
    return x
