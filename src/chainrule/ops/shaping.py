"""Ops that rearrange: reshape, transpose, expand, concat, slice, constant pad, flip; and what is written with them.

Sizes may be symbolic everywhere. A Slice holds start and size, both non-negative, and a positive step: the builder
turns negative positions, None and negative steps into that form (a negative step is a flip, then a slice). The file is
long because concat, slice, pad and reshape are the gradients of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, DimExpr, as_dim, dim_max, dim_min, dim_product, floordiv, lower_bound
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.elementwise import expect_inputs, sum_to
from chainrule.ops.shape_rules import axes_of, axis_of, same_dtype

Position = int | DimExpr | None

_FAR = 10**9  # positions from here on mean "to the end", as exporters of ONNX write it


def listed(shape: Sequence[Dim]) -> str:
    """A shape as text: [N,3,4]."""
    return "[" + ",".join(map(str, shape)) + "]"


def known_negative(dim: Dim) -> bool:
    """True when a dim expression is below zero whatever its symbols are."""
    low = lower_bound(0 - dim)
    return low is not None and low > 0


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in row-major order under another shape. x: any -> shape, of as many elements.

    The element counts must be equal as expressions. Raises ShapeError otherwise. Source: ONNX Reshape-14 (the builder
    resolves -1; there is no 0 = keep).
    """

    name: ClassVar[str] = "reshape"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    shape: tuple[Dim, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        if x.size != dim_product(self.shape):
            raise ShapeError(f"{listed(x.shape)} has {x.size} elements, {listed(self.shape)} {dim_product(self.shape)}",
                             help="a reshape keeps the number of elements; -1 stands for one unknown axis",
                             apart=(x.size, dim_product(self.shape)))  # fmt: skip
        return x.with_shape(self.shape)

    def ref(self, *arrays: Array) -> Array:
        return np.reshape(arrays[0], self.shape)  # type: ignore[arg-type]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (reshape(grads[0], inputs[0].shape),)


@dataclass(frozen=True)
class Transpose(Op):
    """Axis i of the result is axis perm[i] of x. x: [d0, ...] -> [d_perm0, ...]. Source: ONNX Transpose-13.

    Raises ArgumentError when perm is not a permutation of x's axes.
    """

    name: ClassVar[str] = "transpose"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    perm: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        if sorted(self.perm) != list(range(x.rank)):
            raise ArgumentError(f"{self.perm} is not a permutation of the {x.rank} axes of x",
                                help=f"name each of 0..{x.rank - 1} once" if x.rank else "x has no axes")  # fmt: skip
        return x.with_shape(x.shape[i] for i in self.perm)

    def ref(self, *arrays: Array) -> Array:
        return np.transpose(arrays[0], self.perm)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        inverse = sorted(range(len(self.perm)), key=self.perm.__getitem__)
        return (transpose(grads[0], inverse),)


@dataclass(frozen=True)
class Expand(Op):
    """x repeated along its axes of size 1 and along new leading axes. x: broadcastable to shape -> shape.

    One-sided, as numpy.broadcast_to: x's sizes are 1 or those of shape. Raises ShapeError otherwise.
    Source: ONNX Expand-13.
    """

    name: ClassVar[str] = "expand"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    shape: tuple[Dim, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        lead = len(self.shape) - x.rank
        if lead < 0:
            raise ShapeError(f"x has {x.rank} axes, the wanted shape {listed(self.shape)} fewer",
                             help="reshape or reduce x first")  # fmt: skip
        for axis, (have, want) in enumerate(zip(x.shape, self.shape[lead:], strict=True)):
            if have != 1 and have != want:
                raise ShapeError(f"x {listed(x.shape)} does not expand to {listed(self.shape)}",
                                 help=f"axis {axis} of x is {have}: neither 1 nor {want}")  # fmt: skip
        return x.with_shape(self.shape)

    def ref(self, *arrays: Array) -> Array:
        return np.broadcast_to(arrays[0], self.shape)  # type: ignore[arg-type]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (sum_to(grads[0], inputs[0].shape),)


@dataclass(frozen=True)
class Concat(Op):
    """The inputs one after another along an axis. x_i: [.., n_i, ..] -> [.., sum n_i, ..]. Source: ONNX Concat-13.

    Empty inputs are allowed. Raises ShapeError when another axis differs, DTypeError when element types differ,
    ArgumentError for no input or an axis that x0 does not have.
    """

    name: ClassVar[str] = "concat"
    args: ClassVar[tuple[str, ...]] = ("x*",)
    gradient: ClassVar[str] = "vjp"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        if not types:
            raise ArgumentError("there is nothing to join", help="give at least one value")
        dtype, first = same_dtype(*types), types[0].shape
        axis = axis_of(self.axis, len(first))
        total: Dim = 0
        for i, x in enumerate(types):
            rest = [d for j, d in enumerate(x.shape) if j != axis]
            if x.rank != len(first) or rest != [d for j, d in enumerate(first) if j != axis]:
                raise ShapeError(f"x{i} {listed(x.shape)} does not join x0 {listed(first)} along axis {axis}",
                                 help=f"all axes but {axis} must be equal",
                                 apart=_first_apart(x.shape, first, axis))  # fmt: skip
            total = total + x.shape[axis]
        return TensorType(dtype, (*first[:axis], total, *first[axis + 1 :]))

    def ref(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, self.axis)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        axis = axis_of(self.axis, inputs[0].rank)
        return split(grads[0], [v.shape[axis] for v in inputs], axis)


def _first_apart(shape: Sequence[Dim], other: Sequence[Dim], axis: int) -> tuple[Dim, Dim] | None:
    return next(((a, b) for i, (a, b) in enumerate(zip(shape, other, strict=False)) if i != axis and a != b), None)


@dataclass(frozen=True)
class Slice(Op):
    """Elements start, start + step, ... of each axis, `size` of them. x: [d, ...] -> sizes.

    start >= 0, size >= 0, step >= 1; where size is 0 the start may lie anywhere. Raises ShapeError when a slice leaves
    its axis (for symbolic sizes: when that is certain, otherwise when their numbers are known), ArgumentError when not
    every axis is given. Source: ONNX Slice-13, restricted to positive steps.
    """

    name: ClassVar[str] = "slice"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    starts: tuple[Dim, ...]
    sizes: tuple[Dim, ...]
    steps: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        if not len(self.starts) == len(self.sizes) == len(self.steps) == x.rank:
            raise ArgumentError(f"x has {x.rank} axes, {len(self.starts)} starts, {len(self.sizes)} sizes and "
                                f"{len(self.steps)} steps were given", help="give one of each an axis")  # fmt: skip
        for axis in range(x.rank):
            _check_slice(axis, x.shape[axis], self.starts[axis], self.sizes[axis], self.steps[axis])
        return x.with_shape(self.sizes)

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        cut: list[slice] = []
        for axis, (start, size, step) in enumerate(zip(self.starts, self.sizes, self.steps, strict=True)):
            _check_slice(axis, x.shape[axis], start, size, step)
            cut.append(slice(int(start), int(start + size * step), step))
        return np.asarray(x[tuple(cut)])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,), grad = inputs, grads[0]
        for axis, step in enumerate(self.steps):
            if step > 1:
                grad = _spread(grad, axis, step)
        after = [d - s - n for d, s, n in zip(x.shape, self.starts, grad.shape, strict=True)]
        return (pad_constant(grad, self.starts, after),)


def _check_slice(axis: int, dim: Dim, start: Dim, size: Dim, step: int) -> None:
    if step < 1:
        raise ArgumentError(f"step {step} on axis {axis} is not positive", help="flip the axis for a negative step")
    if size == 0:
        return
    if known_negative(size) or known_negative(start) or known_negative(dim - start - (size - 1) * step - 1):
        by = f" by {step}" if step > 1 else ""
        raise ShapeError(f"{size} elements from {start}{by} leave axis {axis} of size {dim}",
                         help="the slice must lie inside the axis")  # fmt: skip


def _spread(x: Value, axis: int, step: int) -> Value:
    """x with step - 1 zeros after every element of an axis."""
    apart = unsqueeze(x, axis + 1)
    shape = list(x.shape)
    shape[axis] = shape[axis] * step
    after = [step - 1 if i == axis + 1 else 0 for i in range(apart.rank)]
    return reshape(pad_constant(apart, [0] * apart.rank, after), shape)


@dataclass(frozen=True)
class Pad(Op):
    """x with `value` put around it; a negative amount cuts off. x: [d, ...] -> [before + d + after, ...].

    result[j] = x[j - before] inside x, else value, converted to x's element type. Raises ShapeError when the result
    would have a negative size, ArgumentError when not every axis is given. Source: ONNX Pad-18, constant.
    """

    name: ClassVar[str] = "pad"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    before: tuple[Dim, ...]
    after: tuple[Dim, ...]
    value: float = 0.0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        if not len(self.before) == len(self.after) == x.rank:
            raise ArgumentError(f"x has {x.rank} axes, {len(self.before)} and {len(self.after)} amounts are given",
                                help="give one amount before and one after for every axis")  # fmt: skip
        shape = [b + d + a for b, d, a in zip(self.before, x.shape, self.after, strict=True)]
        for axis, size in enumerate(shape):
            if known_negative(size):
                raise ShapeError(f"axis {axis} of size {x.shape[axis]} padded by {self.before[axis]} and "
                                 f"{self.after[axis]} has size {size}", help="cut off less")  # fmt: skip
        return x.with_shape(shape)

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        before, after = [int(b) for b in self.before], [int(a) for a in self.after]
        shape = [b + d + a for b, d, a in zip(before, x.shape, after, strict=True)]
        if any(size < 0 for size in shape):
            raise ShapeError(f"{listed(x.shape)} padded by {before} and {after} has a negative size")
        with np.errstate(all="ignore"):
            result = np.full(shape, np.asarray(self.value).astype(x.dtype))
        spans = [(max(0, b), max(0, min(b + d, n))) for b, d, n in zip(before, x.shape, shape, strict=True)]
        if all(low < high for low, high in spans):
            inside = tuple(slice(low, high) for low, high in spans)
            result[inside] = x[tuple(slice(lo - b, hi - b) for (lo, hi), b in zip(spans, before, strict=True))]
        return result

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (pad_constant(grads[0], [0 - b for b in self.before], [0 - a for a in self.after]),)


@dataclass(frozen=True)
class Flip(Op):
    """x in reverse order along axes. x: any -> the same shape. Source: numpy.flip; ONNX Slice-13 with step -1.

    Raises ArgumentError for an axis that x does not have or that is named twice.
    """

    name: ClassVar[str] = "flip"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        axes_of(self.axes, types[0].rank)
        return types[0]

    def ref(self, *arrays: Array) -> Array:
        return np.flip(arrays[0], self.axes)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (flip(grads[0], self.axes),)


def reshape(x: Value, shape: Sequence[int | str | DimExpr]) -> Value:
    """x under another shape; one size may be -1. Raises ShapeError when the number of elements differs."""
    unknown = [i for i, d in enumerate(shape) if isinstance(d, int) and d == -1]
    dims: list[Dim] = [1 if i in unknown else as_dim(d) for i, d in enumerate(shape)]
    if len(unknown) > 1:
        raise ArgumentError("reshape: -1 is given twice", help="only one size can be found from the others")
    if unknown:
        rest = dim_product(dims)
        dims[unknown[0]] = 0 if rest == 0 else floordiv(x.tensor.size, rest)
    return x if tuple(dims) == x.shape else build(Reshape(tuple(dims)), x)


def transpose(x: Value, perm: Sequence[int] | None = None) -> Value:
    """x with its axes in the order of perm; None reverses them. Negative axes count from the end."""
    if perm is None:
        perm = range(x.rank)[::-1]
    order = tuple(p + x.rank if -x.rank <= p < 0 else p for p in perm)
    return x if order == tuple(range(x.rank)) else build(Transpose(order), x)


def expand(x: Value, shape: Sequence[int | str | DimExpr]) -> Value:
    """x broadcast to a shape (numpy.broadcast_to)."""
    dims = tuple(as_dim(d) for d in shape)
    return x if dims == x.shape else build(Expand(dims), x)


def squeeze(x: Value, axes: int | Sequence[int] | None = None) -> Value:
    """x without axes of size 1; None means all that are known to be 1. Raises ShapeError when another size is named."""
    if axes is None:
        chosen: Sequence[int] = [i for i, d in enumerate(x.shape) if d == 1]
    else:
        chosen = axes_of([axes] if isinstance(axes, int) else axes, x.rank)
    for axis in chosen:
        if x.shape[axis] != 1:
            raise ShapeError(f"squeeze: axis {axis} of {x.tensor} is not 1", help="only axes of size 1 can go",
                             apart=(x.shape[axis], 1))  # fmt: skip
    return reshape(x, [d for i, d in enumerate(x.shape) if i not in chosen])


def unsqueeze(x: Value, axes: int | Sequence[int]) -> Value:
    """x with new axes of size 1 at these places of the result (numpy.expand_dims)."""
    wanted = [axes] if isinstance(axes, int) else list(axes)
    rank = x.rank + len(wanted)
    chosen = axes_of(wanted, rank)
    rest = iter(x.shape)
    return reshape(x, [1 if i in chosen else next(rest) for i in range(rank)])


def concat(values: Sequence[Value], axis: int = 0) -> Value:
    """The values one after another along an axis."""
    if len(values) == 1 and -values[0].rank <= axis < values[0].rank:
        return values[0]
    rank = values[0].rank if values else 0
    return build(Concat(axis + rank if -rank <= axis < 0 else axis), *values)


def stack(values: Sequence[Value], axis: int = 0) -> Value:
    """The values along a new axis. All have one shape."""
    if not values:
        raise ArgumentError("stack: there is nothing to join", help="give at least one value")
    for value in values:
        if value.shape != values[0].shape:
            raise ShapeError(f"stack: {value.tensor} and {values[0].tensor} differ", help="stack joins equal shapes")
    at = axis_of(axis, values[0].rank + 1)
    return concat([unsqueeze(v, at) for v in values], at)


def slice_sized(x: Value, starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[int] | None = None) -> Value:
    """`sizes` elements from `starts` on by `steps` (default 1), for every axis; nothing is clamped."""
    by = tuple(steps) if steps is not None else (1,) * len(starts)
    if tuple(sizes) == x.shape and all(s == 0 for s in starts) and all(s == 1 for s in by):
        return x
    return build(Slice(tuple(starts), tuple(sizes), by), x)


def narrow(x: Value, axis: int, start: Dim, size: Dim) -> Value:
    """`size` elements of one axis from `start` on; nothing is clamped."""
    axis = axis_of(axis, x.rank)
    starts: list[Dim] = [0] * x.rank
    sizes = list(x.shape)
    starts[axis], sizes[axis] = start, size
    return slice_sized(x, starts, sizes)


def slice_(x: Value, starts: Sequence[Position], stops: Sequence[Position], steps: Sequence[int] | None = None,
           axes: Sequence[int] | None = None) -> Value:  # fmt: skip
    """x[start:stop:step] along axes (default: the first ones); None, negative and far positions as in Python.

    A symbolic position is counted from the end if it cannot be above 0; else it must lie in the axis. Raises
    ArgumentError for a step of 0.
    """
    by = list(steps) if steps is not None else [1] * len(starts)
    on = [axis_of(a, x.rank) for a in axes] if axes is not None else list(range(len(starts)))
    if not len(starts) == len(stops) == len(by) == len(on) <= x.rank or len(set(on)) != len(on):
        raise ArgumentError(f"slice: {len(starts)} starts, {len(stops)} stops and {len(by)} steps for axes {on}",
                            help="give one of each for every sliced axis")  # fmt: skip
    if 0 in by:
        raise ArgumentError("slice: a step is 0", help="a step is a positive or negative number")
    x = flip(x, [a for a, step in zip(on, by, strict=True) if step < 0])
    first: list[Dim] = [0] * x.rank
    sizes, every = list(x.shape), [1] * x.rank
    for axis, start, stop, step in zip(on, starts, stops, by, strict=True):
        if step < 0:
            start, stop, step = _mirrored(start, x.shape[axis]), _mirrored(stop, x.shape[axis]), -step
        first[axis], sizes[axis], every[axis] = *_span(start, stop, step, x.shape[axis]), step
    return slice_sized(x, first, sizes, every)


def _mirrored(position: Position, dim: Dim) -> Position:
    """The position counted from the other end: element p becomes element dim - 1 - p, which in Python is ~p."""
    if position is None or isinstance(position, DimExpr):
        return None if position is None else dim - 1 - position  # type: ignore[return-value]
    return ~position


def _span(start: Position, stop: Position, step: int, dim: Dim) -> tuple[Dim, Dim]:
    """Start and size of start:stop:step (step > 0) on an axis of this size."""
    if isinstance(dim, int) and not isinstance(start, DimExpr) and not isinstance(stop, DimExpr):
        found = range(*slice(start, stop, step).indices(dim))
        return (found.start, len(found)) if len(found) else (0, 0)
    if isinstance(start, int) and start < 0 and stop is None and start > -_FAR:
        return dim_max(0, dim + start), _ceil_div(dim_min(-start, dim), step)
    first, last = _symbolic_position(start, 0, dim), _symbolic_position(stop, dim, dim)
    if isinstance(stop, int) and stop >= 0:
        last = dim_min(stop, dim) if stop < _FAR else dim
    return first, dim_max(0, _ceil_div(last - first, step))


def _symbolic_position(position: Position, default: Dim, dim: Dim) -> Dim:
    if position is None:
        return default
    if isinstance(position, int) and position < 0:
        return dim_max(0, dim + position) if position > -_FAR else 0
    if isinstance(position, DimExpr) and (least := lower_bound(-position)) is not None and least >= 0:
        return dim_max(0, position + dim * dim_min(1, -position))  # from the end, unless it is 0
    return position


def _ceil_div(dim: Dim, by: int) -> Dim:
    return floordiv(dim + by - 1, by)


def split(x: Value, parts: int | Sequence[Dim], axis: int = 0) -> tuple[Value, ...]:
    """x cut along an axis into a number of equal parts, or into parts of these sizes. Source: ONNX Split-18.

    Raises ShapeError when the parts do not make up the axis.
    """
    axis = axis_of(axis, x.rank)
    dim = x.shape[axis]
    sizes = [floordiv(dim, parts)] * parts if isinstance(parts, int) and parts > 0 else parts
    if isinstance(sizes, int) or sum(sizes, start=0) != dim:
        raise ShapeError(f"split: axis {axis} of {x.tensor} is not made up of {parts} parts",
                         help="give the number of equal parts, or sizes whose sum is the axis",
                         apart=None if isinstance(sizes, int) else (dim, sum(sizes, start=0)))  # fmt: skip
    starts = [sum(sizes[:i], start=0) for i in range(len(sizes))]
    return tuple(narrow(x, axis, start, size) for start, size in zip(starts, sizes, strict=True))


def pad_constant(x: Value, before: Sequence[Dim], after: Sequence[Dim], value: float = 0.0) -> Value:
    """x with a value put around it; negative amounts cut off."""
    if all(b == 0 for b in before) and all(a == 0 for a in after):
        return x
    return build(Pad(tuple(before), tuple(after), value), x)


def flip(x: Value, axes: int | Sequence[int] | None = None) -> Value:
    """x in reverse order along axes (None: all)."""
    chosen = axes_of([axes] if isinstance(axes, int) else axes, x.rank)
    return build(Flip(chosen), x) if chosen else x


OPS: tuple[type[Op], ...] = (Reshape, Transpose, Expand, Concat, Slice, Pad, Flip)
