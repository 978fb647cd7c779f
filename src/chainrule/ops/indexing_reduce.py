"""Scatters that multiply, or keep the largest or smallest. Positions obey the rules of indexing.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32, i64
from chainrule.ops.basic import ones_like, size_of, zeros_like
from chainrule.ops.compare import eq, lt
from chainrule.ops.cumulative import linear_recurrence, shifted
from chainrule.ops.elementwise import add, cast, div, mul, sub, where
from chainrule.ops.indexing import check_scatter, flat_positions, gather_elements, scatter_add, sums_in
from chainrule.ops.shape_rules import axis_of, require
from chainrule.ops.sorting import argsort

MODES = ("mul", "max", "min")
_FUNCTIONS = {"mul": np.multiply, "max": np.maximum, "min": np.minimum}


@dataclass(frozen=True)
class ScatterReduce(Op):
    """x with updates multiplied in at indices, or the larger or smaller kept. -> the shape of x.

    y[i, indices[i, j, k], k] is the product of (or largest, smallest among) x there and the updates[i, j, k], for axis
    1. indices: as many axes as x, no larger but on `axis`; updates: the shape of indices. Repeated positions count one
    after the other, in row-major order; products of f16 and bf16 are held in f32. NaN is the largest and the smallest.
    Of equal extrema each gets its share of the gradient. Raises ArgumentError for another mode, else as ScatterAdd.
    Source: ONNX ScatterElements-18, reductions mul, max and min.
    """

    name: ClassVar[str] = "scatter_reduce"
    args: ClassVar[tuple[str, ...]] = ("x", "indices", "updates")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    axis: int
    mode: str

    def infer(self, *types: TensorType) -> TensorType:
        if self.mode not in MODES:
            raise ArgumentError(f"{self.mode!r} is not a way to scatter", help="modes: " + ", ".join(MODES))
        if types:
            require("fiu", types[0])
        return check_scatter(types, self.axis)

    def ref(self, *arrays: Array) -> Array:
        x, indices, updates = arrays
        at = flat_positions(indices, x.shape, axis_of(self.axis, x.ndim))
        total: Array = x.astype(sums_in(x.dtype)).reshape(-1)
        with np.errstate(all="ignore"):
            _FUNCTIONS[self.mode].at(total, at, updates.reshape(-1).astype(total.dtype))
        return total.reshape(x.shape).astype(x.dtype)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of rounding errors: a product of n factors is rounded n times; an extremum is one of its inputs."""
        if self.mode != "mul":
            return np.zeros(arrays[0].shape)
        return np.abs(self.ref(*arrays)) * max(1.0, arrays[1].size / 8)

    def decompose(self, *inputs: Value) -> Value | None:
        """Half precision in f32; else it is primitive."""
        x, indices, updates = inputs
        if x.dtype.bits != 16 or not x.dtype.is_float:
            return None
        return cast(build(self, cast(x, f32), indices, cast(updates, f32)), x.dtype)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, indices, updates = inputs
        own, theirs = self._factors(x, indices, updates, output)
        return (mul(grads[0], own), None, mul(gather_elements(grads[0], indices, self.axis), theirs))

    def _factors(self, x: Value, indices: Value, updates: Value, output: Value) -> tuple[Value, Value]:
        """The slope of each position's result by x there, and by each of its updates."""
        if self.mode == "mul":
            return self._product_factors(x, indices, updates)
        hit = cast(eq(x, output), x.dtype)
        hits = cast(eq(updates, gather_elements(output, indices, self.axis)), x.dtype)
        count = scatter_add(hit, indices, hits, self.axis)
        safe = where(eq(count, zeros_like(count)), ones_like(count), count)
        return div(hit, safe), div(hits, gather_elements(safe, indices, self.axis))

    def _product_factors(self, x: Value, indices: Value, updates: Value) -> tuple[Value, Value]:
        """The product of the other factors, divided by nothing: right for zeros in derivatives of any order.

        Updates are ordered by position. Then those of one position stand side by side, and the products of those before
        and of those behind each are two recurrences that start anew where the position changes.
        """
        axis = axis_of(self.axis, x.rank)
        at = cast(indices, i64)
        at = where(lt(at, zeros_like(at)), add(at, size_of(x.shape[axis])), at)
        order = argsort(at, axis)
        places, factors = gather_elements(at, order, axis), gather_elements(updates, order, axis)
        others = mul(_products(places, factors, axis, 1), _products(places, factors, axis, -1))
        by_others = gather_elements(others, argsort(order, axis), axis)
        by_x = scatter_reduce(ones_like(x), indices, updates, axis, "mul")
        return by_x, mul(gather_elements(x, indices, axis), by_others)


def _products(places: Value, factors: Value, axis: int, by: int) -> Value:
    """For each element the product of the factors before it (by 1) or behind it (by -1) at the same place."""
    same = eq(places, shifted(places, axis, by, -1))
    factor, first = shifted(factors, axis, by, 1.0), cast(same, factors.dtype)
    steps = where(same, factor, zeros_like(factor))
    return linear_recurrence(steps, sub(ones_like(first), first), axis, reverse=by < 0)


def scatter_reduce(x: Value, indices: Value, updates: Value, axis: int, mode: str) -> Value:
    """x with updates multiplied in ("mul") at indices, or the larger ("max") or smaller ("min") kept."""
    return build(ScatterReduce(axis + x.rank if -x.rank <= axis < 0 else axis, mode), x, indices, updates)


OPS: tuple[type[Op], ...] = (ScatterReduce,)
