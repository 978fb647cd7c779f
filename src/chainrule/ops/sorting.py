"""Ops that order elements: argsort, sort, top_k. Sorting is stable, and NaN is last, whichever the direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, as_dim
from chainrule.ir.graph import Value, build, get
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType, i64
from chainrule.ops.basic import zeros_like
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.indexing import gather_elements, scatter_add
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.shaping import known_negative, narrow


def stable_order(x: Array, axis: int, descending: bool) -> Array:
    """The positions that sort x along an axis, i64; equal elements keep their order, NaN comes last."""
    if x.dtype.kind not in "fiub":  # bf16 orders as the f32 of the same value
        x = x.astype(np.float32)
    if descending:
        # Both turn the order round without moving equal elements; -NaN is NaN, ~x cannot overflow.
        x = -x if x.dtype.kind == "f" else ~x
    return np.argsort(x, axis, kind="stable").astype(np.int64)


@dataclass(frozen=True)
class Argsort(Op):
    """The positions that sort x along an axis: take_along_axis(x, y) is sorted. x: [d..] -> i64[d..].

    Stable: equal elements (-0 and 0 too) keep their order, ascending and descending. NaN is last. Raises ArgumentError
    for a wrong axis. Source: numpy.argsort, kind "stable".
    """

    name: ClassVar[str] = "argsort"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "zero"
    axis: int = -1
    descending: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        axis_of(self.axis, types[0].rank)
        return types[0].with_dtype(i64)

    def ref(self, *arrays: Array) -> Array:
        return stable_order(arrays[0], self.axis, self.descending)


@dataclass(frozen=True)
class Sort(Op):
    """x sorted along an axis, stably, NaN last. x: [d..] -> the same.

    The gradient goes back to where the elements came from. Raises ArgumentError for a wrong axis.
    Source: numpy.sort, kind "stable".
    """

    name: ClassVar[str] = "sort"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "decompose"
    axis: int = -1
    descending: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        axis_of(self.axis, types[0].rank)
        return types[0]

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.take_along_axis(x, stable_order(x, self.axis, self.descending), self.axis)

    def decompose(self, *inputs: Value) -> Value:
        return gather_elements(inputs[0], argsort(inputs[0], self.axis, self.descending), self.axis)


@dataclass(frozen=True)
class TopK(Op):
    """The k largest (or smallest) elements of an axis and their positions, in order. x: [.., n, ..] -> 2 [.., k, ..].

    Of equal elements the one with the lower position comes first; NaN comes after all numbers. Results: values, of x's
    type, and positions, i64. Raises ShapeError when k exceeds the axis, ArgumentError for a wrong axis or a negative k.
    Source: ONNX TopK-11, sorted.
    """

    name: ClassVar[str] = "top_k"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    k: Dim
    axis: int = -1
    largest: bool = True

    def infer(self, *types: TensorType) -> TupleType:
        expect_inputs(1, types)
        (x,) = types
        axis = axis_of(self.axis, x.rank)
        if known_negative(self.k):
            raise ArgumentError(f"k is {self.k}", help="k is the number of elements to take")
        self._check(x.shape[axis])
        values = x.with_shape((*x.shape[:axis], self.k, *x.shape[axis + 1 :]))
        return TupleType((values, values.with_dtype(i64)))

    def _check(self, size: Dim) -> None:
        if known_negative(size - self.k):
            raise ShapeError(f"an axis of size {size} has no top {self.k}", help="k is at most the axis's size")

    def ref(self, *arrays: Array) -> tuple[Array, Array]:
        (x,) = arrays
        axis = axis_of(self.axis, x.ndim)
        self._check(x.shape[axis])
        order = stable_order(x, axis, self.largest)
        positions = np.take(order, np.arange(int(self.k)), axis)
        return np.take_along_axis(x, positions, axis), positions

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        return (scatter_add(zeros_like(x), get(output, 1), grads[0], self.axis),)

    def decompose(self, *inputs: Value) -> tuple[Value, Value]:
        (x,) = inputs
        positions = narrow(argsort(x, self.axis, self.largest), self.axis, 0, self.k)
        return gather_elements(x, positions, self.axis), positions


def argsort(x: Value, axis: int = -1, descending: bool = False) -> Value:
    """The positions that sort x along an axis, i64."""
    return build(Argsort(axis + x.rank if -x.rank <= axis < 0 else axis, descending), x)


def sort(x: Value, axis: int = -1, descending: bool = False) -> Value:
    """x sorted along an axis."""
    return build(Sort(axis + x.rank if -x.rank <= axis < 0 else axis, descending), x)


def top_k(x: Value, k: Dim, axis: int = -1, largest: bool = True) -> tuple[Value, Value]:
    """The k largest (or smallest) elements of an axis in order, and their positions."""
    both = build(TopK(as_dim(k), axis + x.rank if -x.rank <= axis < 0 else axis, largest), x)
    return get(both, 0), get(both, 1)


OPS: tuple[type[Op], ...] = (Argsort, Sort, TopK)
