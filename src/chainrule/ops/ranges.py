"""Ops made of positions: iota, one-hot vectors, triangles and diagonals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim, DimExpr, as_dim, dim_max, dim_min, floordiv
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, as_dtype, f32, i64
from chainrule.ops.basic import constant, scalar_like, size_of, zeros_like
from chainrule.ops.compare import eq, ge, le, lt
from chainrule.ops.elementwise import add, cast, expect_inputs, mul, sub, where
from chainrule.ops.indexing import gather
from chainrule.ops.shape_rules import axis_of, require
from chainrule.ops.shaping import known_negative, reshape, transpose, unsqueeze


@dataclass(frozen=True)
class Iota(Op):
    """Each element is its position along an axis: 0, 1, 2, ... () -> shape, which may hold symbols.

    Integers wrap, floats round. Raises ArgumentError for an axis that the shape does not have, DTypeError for bool.
    Source: ONNX Range-11, expanded.
    """

    name: ClassVar[str] = "iota"
    gradient: ClassVar[str] = "zero"
    shape: tuple[Dim, ...]
    axis: int = 0
    dtype: DType = i64

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(0, types)
        axis_of(self.axis, len(self.shape))
        if self.dtype.is_bool:
            raise DTypeError("bool cannot count", help="take an integer or float element type")
        return TensorType(self.dtype, self.shape)

    def ref(self, *arrays: Array) -> Array:
        axis = axis_of(self.axis, len(self.shape))
        with np.errstate(all="ignore"):
            line = np.arange(int(self.shape[axis])).astype(self.dtype.numpy)
        aligned = line.reshape([-1 if i == axis else 1 for i in range(len(self.shape))])
        return np.broadcast_to(aligned, self.shape)  # type: ignore[arg-type]


@dataclass(frozen=True)
class OneHot(Op):
    """1 where the new axis's position equals the index, else 0. indices: [...] integers -> [..., depth, ...].

    An index in [-depth, 0) counts from the end; any other index outside [0, depth) gives zeros only. Raises DTypeError
    for indices that are not integers, ArgumentError for a wrong axis or depth. Source: ONNX OneHot-11, values (0, 1).
    """

    name: ClassVar[str] = "one_hot"
    args: ClassVar[tuple[str, ...]] = ("indices",)
    gradient: ClassVar[str] = "zero"
    depth: Dim
    axis: int = -1
    dtype: DType = f32

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (indices,) = types
        require("iu", indices)
        axis = axis_of(self.axis, indices.rank + 1)
        if known_negative(self.depth):
            raise ArgumentError(f"the depth {self.depth} is negative", help="the depth is the number of classes")
        return TensorType(self.dtype, (*indices.shape[:axis], self.depth, *indices.shape[axis:]))

    def ref(self, *arrays: Array) -> Array:
        (indices,) = arrays
        axis = axis_of(self.axis, indices.ndim + 1)
        depth = int(self.depth)
        at = np.expand_dims(indices.astype(np.int64), axis)
        places = np.arange(depth).reshape([-1 if i == axis else 1 for i in range(indices.ndim + 1)])
        return (np.where(at < 0, at + depth, at) == places).astype(self.dtype.numpy)

    def decompose(self, *inputs: Value) -> Value:
        axis = axis_of(self.axis, inputs[0].rank + 1)
        at = unsqueeze(cast(inputs[0], i64), axis)
        shape: list[Dim] = [1] * at.rank
        shape[axis] = self.depth
        from_end = where(lt(at, constant(0, i64)), add(at, scalar_like(self.depth, at)), at)
        return cast(eq(from_end, iota(shape, axis, i64)), self.dtype)


@dataclass(frozen=True)
class Trilu(Op):
    """The upper or lower triangle of the last two axes, zeros elsewhere. x: [..., m, n] -> the same.

    Element (i, j) is kept where j - i >= diagonal (upper) or j - i <= diagonal (lower). What is dropped does not count,
    NaN neither. Raises ShapeError below two axes. Source: ONNX Trilu-14; numpy.triu, numpy.tril.
    """

    name: ClassVar[str] = "trilu"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    upper: bool
    diagonal: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        if types[0].rank < 2:
            raise ShapeError(f"x is {types[0]}: a triangle needs two axes", help="x is [..., rows, columns]")
        return types[0]

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        ahead = np.arange(int(x.shape[-1])) - np.arange(int(x.shape[-2])).reshape(-1, 1)
        kept = ahead >= self.diagonal if self.upper else ahead <= self.diagonal
        return np.where(kept, x, np.zeros((), x.dtype))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (build(self, grads[0]),)

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        ahead = _columns_ahead(x.shape[-2], x.shape[-1])
        kept = (ge if self.upper else le)(ahead, constant(self.diagonal, i64))
        return where(kept, x, zeros_like(x))


def _columns_ahead(rows: Dim, columns: Dim) -> Value:
    """j - i for each element (i, j) of a matrix, i64[rows, columns]."""
    return sub(iota((1, columns), 1, i64), iota((rows, 1), 0, i64))


def iota(shape: Sequence[int | str | DimExpr], axis: int = 0, dtype: object = i64) -> Value:
    """Positions along an axis."""
    return build(Iota(tuple(as_dim(d) for d in shape), axis, as_dtype(dtype)))


def arange(start: Dim | float, stop: Dim | float | None = None, step: int | float = 1, dtype: object = None) -> Value:
    """start, start + step, ... up to before stop (numpy.arange); one number alone is stop, from 0.

    Sizes may be symbolic where the step is an int. The element type is i64, f32 if a number is a float, or `dtype`.
    Raises ArgumentError for a step of 0.
    """
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ArgumentError("arange: the step is 0", help="give a positive or negative step")
    if isinstance(start, float) or isinstance(stop, float) or isinstance(step, float):
        count = max(0, math.ceil((float(stop) - float(start)) / step))  # type: ignore[arg-type]
        numbers = float(start) + step * np.arange(count)  # type: ignore[arg-type]
        return constant(numbers.astype(as_dtype(dtype or f32).numpy))
    away = stop - start if step > 0 else start - stop
    count = dim_max(0, floordiv(away + abs(step) - 1, abs(step)))
    places = iota((count,), 0, i64)
    if step != 1:
        places = mul(places, constant(step, i64))
    if start != 0:
        places = add(places, size_of(start))
    return cast(places, dtype or i64)


def one_hot(indices: Value, depth: Dim, axis: int = -1, dtype: object = f32) -> Value:
    """Vectors of length depth with a 1 at the index, along a new axis."""
    return build(OneHot(as_dim(depth), axis, as_dtype(dtype)), indices)


def triu(x: Value, diagonal: int = 0) -> Value:
    """The upper triangle of the last two axes, zeros below."""
    return build(Trilu(True, diagonal), x)


def tril(x: Value, diagonal: int = 0) -> Value:
    """The lower triangle of the last two axes, zeros above."""
    return build(Trilu(False, diagonal), x)


def eye(rows: Dim, columns: Dim | None = None, diagonal: int = 0, dtype: object = f32) -> Value:
    """Ones on a diagonal, zeros elsewhere (numpy.eye)."""
    rows = as_dim(rows)
    ahead = _columns_ahead(rows, rows if columns is None else as_dim(columns))
    return cast(eq(ahead, constant(diagonal, i64)), dtype)


def diagonal(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """The elements (i, i + offset) of two axes, as a new last axis (numpy.diagonal)."""
    first, second = axis_of(axis1, x.rank), axis_of(axis2, x.rank)
    if first == second:
        raise ArgumentError(f"diagonal: the axes {axis1} and {axis2} are one", help="name two different axes")
    rest = [i for i in range(x.rank) if i not in (first, second)]
    rows, columns = x.shape[first], x.shape[second]
    count = dim_max(0, dim_min(rows, columns - offset) if offset >= 0 else dim_min(rows + offset, columns))
    flat = reshape(transpose(x, (*rest, first, second)), [*(x.shape[i] for i in rest), rows * columns])
    steps = mul(iota((count,), 0, i64), size_of(columns + 1))
    begin = size_of(offset if offset >= 0 else columns * -offset)
    return gather(flat, add(steps, begin), -1)


OPS: tuple[type[Op], ...] = (Iota, OneHot, Trilu)
