"""Reductions: sum, mean, largest, smallest, product, their positions, any and all.

Sums of f32, f16 and bf16 are taken in float64 and rounded once; sums of f64 are pairwise: numpy adds pairwise only
along one contiguous last axis, so the reduced axes are moved there first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, i64
from chainrule.ops.basic import scalar_like, zeros_like
from chainrule.ops.compare import eq
from chainrule.ops.elementwise import cast, div, expect_inputs, mul, where
from chainrule.ops.shape_rules import axes_of, axis_of, reduced_shape, require

Axes = int | Sequence[int] | None


@dataclass(frozen=True)
class Reduction(Op):
    """The form of a reduction over axes. x: [...] -> x's shape without them, or with 1 in their place (keepdims).

    axes: counted from the front or the back; none of them leaves x as it is.
    """

    args: ClassVar[tuple[str, ...]] = ("x",)
    kinds: ClassVar[str] = "f"
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        require(self.kinds, x)
        return x.with_shape(reduced_shape(x.shape, axes_of(self.axes, x.rank), self.keepdims))

    def rows(self, x: Array) -> Array:
        """x with the reduced axes flattened into one contiguous last axis."""
        axes = axes_of(self.axes, x.ndim)
        kept = [i for i in range(x.ndim) if i not in axes]
        moved = np.transpose(x, (*kept, *axes))
        count = int(np.prod([x.shape[i] for i in axes]))
        return np.ascontiguousarray(moved).reshape((*(x.shape[i] for i in kept), count))

    def shaped(self, result: Array, x: Array) -> Array:
        """A result of the kept axes in the result's shape."""
        shape = reduced_shape(x.shape, axes_of(self.axes, x.ndim), self.keepdims)
        return np.asarray(result).reshape([int(d) for d in shape])  # type: ignore[arg-type]

    def apply(self, function: Callable[[Array], Array], x: Array) -> Array:
        """function along the last axis of the rows, in float64 for floats, in x's element type at the end."""
        rows = self.rows(x)
        if x.dtype.kind not in "iub":
            rows = rows.astype(np.float64)
        with np.errstate(all="ignore"):
            return self.shaped(np.asarray(function(rows)).astype(x.dtype), x)


def kept(value: Value, x: Value, axes: Sequence[int]) -> Value:
    """A reduction of x over axes with the axes put back as 1, so that it broadcasts against x."""
    from chainrule.ops.shaping import reshape

    shape = reduced_shape(x.shape, axes_of(axes, x.rank), True)
    return value if value.shape == shape else reshape(value, shape)


def spread(value: Value, x: Value, axes: Sequence[int]) -> Value:
    """A reduction of x over axes repeated to x's shape."""
    from chainrule.ops.shaping import expand

    return expand(kept(value, x, axes), x.shape)


def count_of(x: Value, axes: Sequence[int]) -> Dim:
    """How many elements each result of a reduction over axes comes from."""
    return dim_product(x.shape[a] for a in axes_of(axes, x.rank))


class Sum(Reduction):
    """The sum over axes. Integers wrap in their own type; of nothing it is 0. Source: ONNX ReduceSum-13."""

    name: ClassVar[str] = "sum"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return self.apply(lambda rows: np.add.reduce(rows, axis=-1, dtype=rows.dtype), x)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (spread(grads[0], inputs[0], self.axes),)


class Mean(Reduction):
    """The mean over axes: sum / count. Floats only; of nothing it is NaN. Source: ONNX ReduceMean-18."""

    name: ClassVar[str] = "mean"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return self.apply(lambda rows: np.add.reduce(rows, axis=-1) / rows.shape[-1], x)

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        return div(sum(x, self.axes, self.keepdims), scalar_like(count_of(x, self.axes), x))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        return (spread(div(grads[0], scalar_like(count_of(x, self.axes), x)), x, self.axes),)


class Extremum(Reduction):
    """The form of the largest or smallest over axes; its gradient is split evenly among ties."""

    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        hit = eq(x, kept(output, x, self.axes))
        ties = sum(cast(hit, x.dtype), self.axes, keepdims=True)
        return (where(hit, div(kept(grads[0], x, self.axes), ties), zeros_like(x)),)


class AMax(Extremum):
    """The largest over axes; NaN where one is NaN; of nothing -inf or the type's smallest.

    Which of two zeros it gives is not promised. Ties share the gradient evenly. Source: ONNX ReduceMax-20; numpy.amax.
    """

    name: ClassVar[str] = "amax"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        lowest = lowest_of(x.dtype)
        return self.apply(lambda rows: np.maximum.reduce(rows, axis=-1, initial=lowest), x)


class AMin(Extremum):
    """The smallest over axes; NaN where one is NaN; of nothing inf or the type's largest.

    Which of two zeros it gives is not promised. Ties share the gradient evenly. Source: ONNX ReduceMin-20; numpy.amin.
    """

    name: ClassVar[str] = "amin"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        highest = highest_of(x.dtype)
        return self.apply(lambda rows: np.minimum.reduce(rows, axis=-1, initial=highest), x)


def lowest_of(dtype: np.dtype) -> float | int:
    """-inf, or the smallest integer of the type."""
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else -np.inf


def highest_of(dtype: np.dtype) -> float | int:
    """inf, or the largest integer of the type."""
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else np.inf


class Prod(Reduction):
    """The product over axes. Integers wrap; of nothing it is 1. Source: ONNX ReduceProd-18.

    The gradient of an element is the product of the others, zeros among them included.
    """

    name: ClassVar[str] = "prod"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return self.apply(lambda rows: np.multiply.reduce(rows, axis=-1, dtype=rows.dtype), x)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of rounding errors: each of n factors adds one to the relative error."""
        (x,) = arrays
        return np.abs(self.ref(x)) * max(1.0, self.rows(x).shape[-1] / 8)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        # The product of the elements before an element times that of those behind it: no division, and so right for
        # zeros, in the second derivative too.
        from chainrule.ops.cumulative import cumprod
        from chainrule.ops.shaping import flip, pad_constant, reshape, transpose

        (x,) = inputs
        along = axes_of(self.axes, x.rank)
        order = [a for a in range(x.rank) if a not in along] + list(along)
        moved = transpose(x, order)
        line = reshape(moved, (*moved.shape[: x.rank - len(along)], count_of(x, self.axes)))
        first, last = (0,) * (line.rank - 1) + (1,), (0,) * (line.rank - 1) + (-1,)

        def before(values: Value) -> Value:
            return pad_constant(cumprod(values, -1), first, last, 1.0)

        others = mul(before(line), flip(before(flip(line, -1)), -1))
        slope = transpose(reshape(others, moved.shape), [order.index(a) for a in range(x.rank)])
        return (mul(kept(grads[0], x, self.axes), slope),)


class Any(Reduction):
    """One element over the axes holds; of nothing false. x: bool. Source: numpy.any; ONNX ReduceMax-20 of bool."""

    name: ClassVar[str] = "any"
    kinds: ClassVar[str] = "b"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(lambda rows: np.any(rows, axis=-1), arrays[0])


class All(Reduction):
    """Every element over the axes holds; of nothing true. x: bool. Source: numpy.all; ONNX ReduceMin-20 of bool."""

    name: ClassVar[str] = "all"
    kinds: ClassVar[str] = "b"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(lambda rows: np.all(rows, axis=-1), arrays[0])


@dataclass(frozen=True)
class Position(Op):
    """The form of the position of an extremum along one axis. x: [...] -> i64, without the axis or with 1 there.

    Raises ShapeError for an axis of size 0.
    """

    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "zero"
    axis: int
    keepdims: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        require("fiu", x)
        axis = axis_of(self.axis, x.rank)
        if x.shape[axis] == 0:
            raise ShapeError(f"axis {axis} is empty: it has no extremum", help="the axis needs one element or more")
        return TensorType(i64, reduced_shape(x.shape, (axis,), self.keepdims))

    def along(self, function: Callable[..., Array], x: Array) -> Array:
        """function along the axis as i64; NaN stands before all numbers, which is numpy's order."""
        wide = x.astype(np.float32) if x.dtype.name == "bfloat16" else x
        found = np.asarray(function(wide, axis=self.axis), np.int64)
        return np.expand_dims(found, self.axis) if self.keepdims else found


class ArgMax(Position):
    """The position of the largest along an axis: the first at ties, the first NaN where there is one.

    x: [...] -> i64. Raises ShapeError for an empty axis. Source: ONNX ArgMax-13 (first index); numpy.argmax.
    """

    name: ClassVar[str] = "argmax"

    def ref(self, *arrays: Array) -> Array:
        return self.along(np.argmax, arrays[0])


class ArgMin(Position):
    """The position of the smallest along an axis: the first at ties, the first NaN where there is one.

    x: [...] -> i64. Raises ShapeError for an empty axis. Source: ONNX ArgMin-13 (first index); numpy.argmin.
    """

    name: ClassVar[str] = "argmin"

    def ref(self, *arrays: Array) -> Array:
        return self.along(np.argmin, arrays[0])


def canonical_axes(x: Value, axes: Axes) -> tuple[int, ...]:
    """The axes of x counted from the front; None means all. An axis out of range is left to the shape rule."""
    if axes is None:
        return tuple(range(x.rank))
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    return tuple(sorted(a + x.rank if -x.rank <= a < 0 else a for a in given))


def canonical_axis(x: Value, axis: int) -> int:
    """The axis of x counted from the front. One out of range is left to the shape rule."""
    return axis + x.rank if -x.rank <= axis < 0 else axis


def sum(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The sum over axes (all by default)."""
    return build(Sum(canonical_axes(x, axes), keepdims), x)


def mean(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The mean over axes (all by default)."""
    return build(Mean(canonical_axes(x, axes), keepdims), x)


def amax(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The largest over axes (all by default)."""
    return build(AMax(canonical_axes(x, axes), keepdims), x)


def amin(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The smallest over axes (all by default)."""
    return build(AMin(canonical_axes(x, axes), keepdims), x)


def prod(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """The product over axes (all by default)."""
    return build(Prod(canonical_axes(x, axes), keepdims), x)


def any_(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """One element over the axes (all by default) holds."""
    return build(Any(canonical_axes(x, axes), keepdims), x)


def all_(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """Every element over the axes (all by default) holds."""
    return build(All(canonical_axes(x, axes), keepdims), x)


def argmax(x: Value, axis: int, keepdims: bool = False) -> Value:
    """The position of the first largest along an axis."""
    return build(ArgMax(canonical_axis(x, axis), keepdims), x)


def argmin(x: Value, axis: int, keepdims: bool = False) -> Value:
    """The position of the first smallest along an axis."""
    return build(ArgMin(canonical_axis(x, axis), keepdims), x)


OPS: tuple[type[Op], ...] = (Sum, Mean, AMax, AMin, Prod, Any, All, ArgMax, ArgMin)
