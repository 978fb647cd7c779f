"""Ops that read and write at positions given by data: gather and scatter in their forms.

An index in [-size, 0) counts from the end; any other index outside [0, size) is an error, never a read elsewhere.
Writes happen in row-major order of the indices: sums are added and repeated positions overwritten in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim, lower_bound
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, i64
from chainrule.ops.basic import constant, full, scalar_like, zeros_like
from chainrule.ops.compare import eq, lt
from chainrule.ops.elementwise import add, cast, expect_inputs, where
from chainrule.ops.shape_rules import axis_of, require, same_dtype
from chainrule.ops.shaping import expand, listed, reshape, unsqueeze


def in_range(indices: Array, size: int, axis: int) -> Array:
    """The indices counted from the front, i64. Raises ArgumentError for one that lies outside the axis."""
    wide = indices.astype(np.int64) if indices.dtype != np.uint64 else np.minimum(indices, 2**63 - 1).astype(np.int64)
    wrong = (wide < -size) | (wide >= size)
    if wrong.any():
        raise ArgumentError(f"index {wide[wrong].flat[0]} is out of range for axis {axis} of size {size}",
                            help=f"indices run from {-size} to {size - 1}")  # fmt: skip
    return np.where(wide < 0, wide + size, wide)


def sums_in(dtype: np.dtype) -> np.dtype:
    """The type in which sums of a type are held: half precision is summed in f32 and rounded once."""
    return np.dtype(np.float32) if dtype.itemsize == 2 and dtype.kind not in "iu" else dtype


@dataclass(frozen=True)
class Gather(Op):
    """Slices of x at indices along an axis. x: [a.., n, b..], indices: [i..] integers -> [a.., i.., b..].

    Negative indices count from the end. Raises DTypeError for indices that are not integers, ArgumentError for a wrong
    axis and, when run, for an index out of range. Source: ONNX Gather-13; numpy.take.
    """

    name: ClassVar[str] = "gather"
    args: ClassVar[tuple[str, ...]] = ("x", "indices")
    gradient: ClassVar[str] = "vjp"
    axis: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, indices = types
        require("iu", indices)
        axis = axis_of(self.axis, x.rank)
        return x.with_shape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def ref(self, *arrays: Array) -> Array:
        x, indices = arrays
        axis = axis_of(self.axis, x.ndim)
        return np.asarray(np.take(x, in_range(indices, x.shape[axis], axis), axis))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, indices = inputs
        return (index_add(x.shape, indices, grads[0], axis_of(self.axis, x.rank)), None)


@dataclass(frozen=True)
class IndexAdd(Op):
    """Zeros of `shape`, with slices added at indices along an axis. indices: [i..], updates: [a.., i.., b..] -> shape.

    shape is [a.., n, b..]. Repeated indices add up in row-major order of the indices; f16 and bf16 are summed in f32.
    Negative indices count from the end. It is the gradient of Gather. Raises ShapeError when updates do not fit,
    ArgumentError, when run, for an index out of range. Source: the transpose of ONNX Gather-13; jax.ops.segment_sum.
    """

    name: ClassVar[str] = "index_add"
    args: ClassVar[tuple[str, ...]] = ("indices", "updates")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    shape: tuple[Dim, ...]
    axis: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        indices, updates = types
        require("iu", indices)
        require("fiu", updates)
        axis = axis_of(self.axis, len(self.shape))
        wanted = (*self.shape[:axis], *indices.shape, *self.shape[axis + 1 :])
        if updates.shape != wanted:
            raise ShapeError(f"updates are {listed(updates.shape)}, not {listed(wanted)}",
                             help=f"indices {listed(indices.shape)} take the place of axis {axis}")  # fmt: skip
        return updates.with_shape(self.shape)

    def ref(self, *arrays: Array) -> Array:
        indices, updates = arrays
        axis = axis_of(self.axis, len(self.shape))
        shape = tuple(int(d) for d in self.shape)
        at = in_range(indices, shape[axis], axis).reshape(-1)
        total = np.zeros(shape, sums_in(updates.dtype))
        rows = updates.reshape(*shape[:axis], at.size, *shape[axis + 1 :])
        with np.errstate(all="ignore"):
            np.add.at(np.moveaxis(total, axis, 0), at, np.moveaxis(rows, axis, 0).astype(total.dtype))
        return total.astype(updates.dtype)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (None, gather(grads[0], inputs[0], self.axis))


@dataclass(frozen=True)
class Embedding(Op):
    """Rows of a table; the row at padding_idx gets no gradient. weight: [n, d..], indices: [i..] -> [i.., d..].

    The values are those of Gather on axis 0. padding_idx in [-n, n). Raises ShapeError for a weight without axes,
    ArgumentError for a padding_idx out of range. Source: PyTorch torch.nn.functional.embedding.
    """

    name: ClassVar[str] = "embedding"
    args: ClassVar[tuple[str, ...]] = ("weight", "indices")
    gradient: ClassVar[str] = "vjp"
    padding_idx: int

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        weight, indices = types
        require("iu", indices)
        if not weight.rank:
            raise ShapeError("weight has no axes", help="weight is [rows, features]")
        rows = weight.shape[0]
        if isinstance(rows, int) and not -rows <= self.padding_idx < rows:
            raise ArgumentError(f"padding_idx {self.padding_idx} is out of range for {rows} rows",
                                help=f"it runs from {-rows} to {rows - 1}")  # fmt: skip
        return weight.with_shape((*indices.shape, *weight.shape[1:]))

    def ref(self, *arrays: Array) -> Array:
        weight, indices = arrays
        return np.asarray(np.take(weight, in_range(indices, weight.shape[0], 0), 0))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        weight, indices = inputs
        rows = scalar_like(weight.shape[0], constant(0, i64))
        padding = from_front(constant(self.padding_idx, i64), rows)
        padded = eq(from_front(indices, rows), padding)
        aligned = unsqueeze(padded, range(indices.rank, indices.rank + weight.rank - 1)) if weight.rank > 1 else padded
        return (index_add(weight.shape, indices, where(aligned, zeros_like(grads[0]), grads[0]), 0), None)

    def decompose(self, *inputs: Value) -> Value:
        return gather(inputs[0], inputs[1], 0)


def from_front(indices: Value, size: Value) -> Value:
    """The indices as i64, negative ones counted from the front."""
    wide = cast(indices, i64)
    return where(lt(wide, constant(0, i64)), add(wide, size), wide)


def _check_elements(x: TensorType, indices: TensorType, axis: int) -> None:
    """indices has x's rank and, on the other axes, no larger sizes."""
    require("iu", indices)
    if indices.rank != x.rank:
        raise ShapeError(f"x has {x.rank} axes, indices {indices.rank}", help="both have the same number of axes")
    axis = axis_of(axis, x.rank)
    for i, (have, want) in enumerate(zip(x.shape, indices.shape, strict=True)):
        room = lower_bound(have - want)
        if i != axis and (room is None or room < 0):
            raise ShapeError(f"x {listed(x.shape)} is smaller than indices {listed(indices.shape)} on axis {i}",
                             help=f"only axis {axis} of indices may be larger")  # fmt: skip


def flat_positions(indices: Array, shape: tuple[int, ...], axis: int) -> Array:
    """The row-major position in `shape` that each element of indices stands for, flat, in row-major order."""
    total: Array = np.zeros(indices.shape, np.int64)
    for i, size in enumerate(indices.shape):
        own = np.arange(int(size)).reshape([-1 if j == i else 1 for j in range(len(shape))])
        total = total + (in_range(indices, shape[axis], axis) if i == axis else own) * int(np.prod(shape[i + 1 :]))
    return total.reshape(-1)


@dataclass(frozen=True)
class TakeAlongAxis(Op):
    """One element of x for each index: y[i, j, k] = x[i, indices[i, j, k], k] for axis 1. -> the shape of indices.

    x: [d..], indices: as many axes, no larger than x but on `axis`. Negative indices count from the end. Raises
    ShapeError when they do not fit, ArgumentError, when run, for an index out of range. Source: ONNX GatherElements-13.
    """

    name: ClassVar[str] = "take_along_axis"
    args: ClassVar[tuple[str, ...]] = ("x", "indices")
    gradient: ClassVar[str] = "vjp"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, indices = types
        _check_elements(x, indices, self.axis)
        return x.with_shape(indices.shape)

    def ref(self, *arrays: Array) -> Array:
        x, indices = arrays
        at = flat_positions(indices, x.shape, axis_of(self.axis, x.ndim))
        return x.reshape(-1)[at].reshape(indices.shape)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, indices = inputs
        return (scatter_add(zeros_like(x), indices, grads[0], self.axis), None)


def check_scatter(types: Sequence[TensorType], axis: int) -> TensorType:
    """The result type of a scatter of updates at indices into x."""
    expect_inputs(3, types)
    x, indices, updates = types
    same_dtype(x, updates)
    _check_elements(x, indices, axis)
    if updates.shape != indices.shape:
        raise ShapeError(f"updates {listed(updates.shape)} and indices {listed(indices.shape)} differ",
                         help="there is one update for every index")  # fmt: skip
    return x


@dataclass(frozen=True)
class ScatterAdd(Op):
    """x with updates added at indices: y[i, indices[i, j, k], k] += updates[i, j, k] for axis 1. -> the shape of x.

    indices: as many axes as x, no larger but on `axis`; updates: the shape of indices. Repeated positions add up, in
    row-major order of the indices; f16 and bf16 are summed in f32. Raises ShapeError when they do not fit,
    ArgumentError, when run, for an index out of range. Source: ONNX ScatterElements-18, reduction add.
    """

    name: ClassVar[str] = "scatter_add"
    args: ClassVar[tuple[str, ...]] = ("x", "indices", "updates")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        if types and types[0].dtype.is_bool:
            raise DTypeError("bool cannot be added", help="scatter assigns; cast to add")
        return check_scatter(types, self.axis)

    def ref(self, *arrays: Array) -> Array:
        x, indices, updates = arrays
        at = flat_positions(indices, x.shape, axis_of(self.axis, x.ndim))
        total: Array = x.astype(sums_in(x.dtype)).reshape(-1)
        with np.errstate(all="ignore"):
            np.add.at(total, at, updates.reshape(-1).astype(total.dtype))
        return total.reshape(x.shape).astype(x.dtype)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (grads[0], None, gather_elements(grads[0], inputs[1], self.axis))


@dataclass(frozen=True)
class Scatter(Op):
    """x with updates put at indices: y[i, indices[i, j, k], k] = updates[i, j, k] for axis 1. -> the shape of x.

    indices: as many axes as x, no larger but on `axis`; updates: the shape of indices. Of repeated positions the last
    in row-major order counts, and it alone gets the gradient. Raises as ScatterAdd does.
    Source: ONNX ScatterElements-18, reduction none (which leaves repeated positions open).
    """

    name: ClassVar[str] = "scatter"
    args: ClassVar[tuple[str, ...]] = ("x", "indices", "updates")
    gradient: ClassVar[str] = "vjp"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        return check_scatter(types, self.axis)

    def ref(self, *arrays: Array) -> Array:
        x, indices, updates = arrays
        at = flat_positions(indices, x.shape, axis_of(self.axis, x.ndim))
        result: Array = x.reshape(-1).copy()
        result[at] = updates.reshape(-1)
        return result.reshape(x.shape)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        from chainrule.ops.ranges import iota

        (x, indices, updates), (g,) = inputs, grads
        # Which update won each position: scatter their own numbers, then look up whose number is there.
        numbers = reshape(iota((updates.tensor.size,), 0, i64), updates.shape)
        winners = scatter(full(0, x.shape, i64), indices, numbers, self.axis)
        won = eq(gather_elements(winners, indices, self.axis), numbers)
        taken = gather_elements(g, indices, self.axis)
        return (scatter(g, indices, zeros_like(updates), self.axis), None, where(won, taken, zeros_like(taken)))


def gather(x: Value, indices: Value, axis: int = 0) -> Value:
    """Slices of x at indices along an axis (numpy.take)."""
    return build(Gather(axis + x.rank if -x.rank <= axis < 0 else axis), x, indices)


def index_add(shape: Sequence[Dim], indices: Value, updates: Value, axis: int = 0) -> Value:
    """Zeros of a shape with slices added at indices along an axis."""
    return build(IndexAdd(tuple(shape), axis), indices, updates)


def embedding(weight: Value, indices: Value, padding_idx: int | None = None) -> Value:
    """Rows of a table at indices; the row at padding_idx gets no gradient."""
    return gather(weight, indices, 0) if padding_idx is None else build(Embedding(padding_idx), weight, indices)


def take_along_axis(x: Value, indices: Value, axis: int) -> Value:
    """One element of x along an axis for each index; other axes of size 1 stretch (numpy.take_along_axis)."""
    if x.rank == indices.rank and -x.rank <= axis < x.rank:
        at = axis_of(axis, x.rank)
        sizes = list(zip(x.shape, indices.shape, strict=True))
        x = expand(x, [n if have == 1 and i != at else have for i, (have, n) in enumerate(sizes)])
        indices = expand(indices, [have if n == 1 and i != at else n for i, (have, n) in enumerate(sizes)])
    return gather_elements(x, indices, axis)


def gather_elements(x: Value, indices: Value, axis: int) -> Value:
    """One element of x along an axis for each index, without stretching: a smaller indices reads x's first part."""
    return build(TakeAlongAxis(axis + x.rank if -x.rank <= axis < 0 else axis), x, indices)


def scatter_add(x: Value, indices: Value, updates: Value, axis: int) -> Value:
    """x with updates added at positions along an axis."""
    return build(ScatterAdd(axis + x.rank if -x.rank <= axis < 0 else axis), x, indices, updates)


def scatter(x: Value, indices: Value, updates: Value, axis: int) -> Value:
    """x with updates put at positions along an axis."""
    return build(Scatter(axis + x.rank if -x.rank <= axis < 0 else axis), x, indices, updates)


OPS: tuple[type[Op], ...] = (Gather, IndexAdd, Embedding, TakeAlongAxis, ScatterAdd, Scatter)
