"""Running sums and products along an axis, and the recurrence that their gradients are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.basic import full, zeros_like
from chainrule.ops.compare import eq
from chainrule.ops.control import scan
from chainrule.ops.elementwise import add, cast, expect_inputs, mul, where
from chainrule.ops.reduce import canonical_axis
from chainrule.ops.shape_rules import axis_of, require, same_dtype
from chainrule.ops.shaping import pad_constant, transpose


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

    Gradients of any order are right with zeros among the elements too: they divide by nothing.
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
        # d y_j / d x_i is the product of x_0..x_j without x_i: of those before i, and of those from i + 1 to j.
        axis = canonical_axis(inputs[0], self.axis)
        behind = linear_recurrence(shifted(inputs[0], axis, -1), grads[0], axis, reverse=True)
        return (mul(shifted(output, axis, 1, 1.0), behind),)


@dataclass(frozen=True)
class LinearRecurrence(Op):
    """y_i = a_i * y_(i-1) + b_i along an axis, with 0 before the first. a, b: [...] -> the same shape.

    Where a_i is 0 the line starts anew at b_i, whatever came before, infinities and NaN too. reverse: from the last
    element to the first, y_i = a_i * y_(i+1) + b_i. Its gradient is the same op the other way, so derivatives of any
    order divide by nothing. Raises ShapeError for unequal shapes, ArgumentError for a wrong axis.
    Source: Blelloch, Prefix sums and their applications, 1990, section 1.4 (first-order recurrences).
    """

    name: ClassVar[str] = "linear_recurrence"
    args: ClassVar[tuple[str, ...]] = ("a", "b")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    axis: int
    reverse: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        require("f", *types)
        same_dtype(*types)
        if types[0].shape != types[1].shape:
            raise ShapeError(f"a is {types[0]}, b is {types[1]}", help="each element has a factor and a term")
        axis_of(self.axis, types[0].rank)
        return types[0]

    def ref(self, *arrays: Array) -> Array:
        wide = np.longdouble if arrays[0].dtype == np.float64 else np.float64
        order = slice(None, None, -1 if self.reverse else 1)
        a, b = (np.moveaxis(x.astype(wide), self.axis, 0)[order] for x in arrays)
        y = np.zeros((len(b) + 1, *b.shape[1:]), wide)
        with np.errstate(all="ignore"):
            for i in range(len(b)):
                y[i + 1] = np.where(a[i] == 0, b[i], a[i] * y[i] + b[i])
            return np.moveaxis(y[1:][order], 0, self.axis).astype(arrays[0].dtype)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of rounding errors: the recurrence of absolute values, rounded once a step."""
        return self.ref(*(np.abs(x) for x in arrays)) * max(1.0, arrays[0].shape[self.axis] / 8)

    def decompose(self, *inputs: Value) -> Value:
        """A loop over the axis; half precision in f32."""
        dtype = inputs[0].dtype
        if dtype.bits == 16:
            return cast(build(self, *(cast(x, f32) for x in inputs)), dtype)
        axis = canonical_axis(inputs[0], self.axis)
        order = [axis, *(i for i in range(inputs[0].rank) if i != axis)]
        stacks = [transpose(x, order) for x in inputs]
        row = inputs[0].tensor.with_shape(stacks[0].shape[1:])
        before, a, b = (new_input(name, row) for name in ("before", "a", "b"))
        after = where(eq(a, zeros_like(a)), b, add(mul(a, before), b))
        body = Graph(self.name, (before, a, b), (after, after))
        start = full(0.0, row.shape, row.dtype)
        _, y = scan(body, [start], stacks, [], stacks[0].shape[0], self.reverse)
        return transpose(y, [order.index(i) for i in range(len(order))])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        axis = canonical_axis(inputs[0], self.axis)
        ahead = 1 if self.reverse else -1
        slope = linear_recurrence(shifted(inputs[0], axis, ahead), grads[0], axis, not self.reverse)
        return (mul(slope, shifted(output, axis, -ahead)), slope)


def shifted(x: Value, axis: int, by: int, edge: float = 0.0) -> Value:
    """Element i is element i - by along an axis, the edge where there is none."""
    before = [by if i == axis else 0 for i in range(x.rank)]
    return pad_constant(x, before, [-n for n in before], edge)


def cumsum(x: Value, axis: int, exclusive: bool = False, reverse: bool = False) -> Value:
    """The running sum along an axis."""
    return build(CumSum(canonical_axis(x, axis), exclusive, reverse), x)


def cumprod(x: Value, axis: int) -> Value:
    """The running product along an axis."""
    return build(CumProd(canonical_axis(x, axis)), x)


def linear_recurrence(a: Value, b: Value, axis: int, reverse: bool = False) -> Value:
    """y_i = a_i * y_(i-1) + b_i along an axis; reverse: from its end, with y_(i+1)."""
    return build(LinearRecurrence(canonical_axis(b, axis), reverse), a, b)


OPS: tuple[type[Op], ...] = (CumSum, CumProd, LinearRecurrence)
