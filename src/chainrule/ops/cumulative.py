"""Running sums and products along an axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.basic import ones_like, zeros_like
from chainrule.ops.compare import eq, logical_and
from chainrule.ops.elementwise import cast, div, expect_inputs, mul, where
from chainrule.ops.reduce import canonical_axis
from chainrule.ops.shape_rules import axis_of, require


@dataclass(frozen=True)
class Cumulative(Op):
    """The form of a running reduction along one axis. x: [...] -> the same shape."""

    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        require("fiu", *types)
        axis_of(self.axis, types[0].rank)
        return types[0]


def _run(function: Callable[..., Array], x: Array, axis: int) -> Array:
    """A running numpy function, in float64 for floats (f64 in longdouble), in x's element type at the end.

    numpy runs one step after another, so that rounding errors add up along the line.
    """
    with np.errstate(all="ignore"):
        if x.dtype.kind in "iu":
            return function(x, axis=axis, dtype=x.dtype)
        wide = np.longdouble if x.dtype == np.float64 else np.float64
        return function(x.astype(wide), axis=axis).astype(x.dtype)


@dataclass(frozen=True)
class CumSum(Cumulative):
    """Element i is the sum of the elements up to i. Integers wrap.

    exclusive: without element i itself. reverse: of the elements from i on. Source: ONNX CumSum-14.
    """

    name: ClassVar[str] = "cumsum"
    exclusive: bool = False
    reverse: bool = False

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        if x.size == 0:
            return x.copy()
        ahead = np.flip(x, self.axis) if self.reverse else x
        if self.exclusive:
            edge = np.zeros_like(np.take(ahead, [0], axis=self.axis))
            body = np.take(ahead, list(range(x.shape[self.axis] - 1)), axis=self.axis)
            ahead = np.concatenate([edge, body], axis=self.axis)
        total = _run(np.cumsum, ahead, self.axis)
        return np.flip(total, self.axis) if self.reverse else total

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (cumsum(grads[0], self.axis, self.exclusive, not self.reverse),)


class CumProd(Cumulative):
    """Element i is the product of the elements up to and with i. Integers wrap.

    The gradient is right with zeros among the elements too; its own derivative is not, it takes them as constants.
    Source: numpy.cumprod.
    """

    name: ClassVar[str] = "cumprod"

    def ref(self, *arrays: Array) -> Array:
        return _run(np.cumprod, arrays[0], self.axis)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of rounding errors: each factor adds one to the relative error."""
        (x,) = arrays
        return np.abs(self.ref(x)) * max(1.0, x.shape[self.axis] / 8)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        # d y_j / d x_i is the product of x_0..x_j without x_i. Before the first zero that is y_j / x_i. At the first
        # zero it is the running product with that zero taken as 1. Behind it, it is 0.
        (x,) = inputs
        (g,) = grads
        is_zero = eq(x, zeros_like(x))
        zeros = cumsum(cast(is_zero, x.dtype), self.axis)
        first = logical_and(is_zero, eq(zeros, ones_like(zeros)))
        filled = where(first, ones_like(x), x)
        at_first = cumsum(mul(g, cumprod(filled, self.axis)), self.axis, reverse=True)
        safe = where(is_zero, ones_like(x), x)
        before = div(cumsum(mul(g, output), self.axis, reverse=True), safe)
        clear = eq(zeros, zeros_like(zeros))
        return (where(clear, before, where(first, at_first, zeros_like(x))),)


def cumsum(x: Value, axis: int, exclusive: bool = False, reverse: bool = False) -> Value:
    """The running sum along an axis."""
    return build(CumSum(canonical_axis(x, axis), exclusive, reverse), x)


def cumprod(x: Value, axis: int) -> Value:
    """The running product along an axis."""
    return build(CumProd(canonical_axis(x, axis)), x)


OPS: tuple[type[Op], ...] = (CumSum, CumProd)
