"""Scatters that multiply, or keep the largest or smallest. Positions obey the rules of indexing.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.basic import ones_like, scalar_like, zeros_like
from chainrule.ops.compare import eq, logical_and
from chainrule.ops.elementwise import cast, div, mul, where
from chainrule.ops.indexing import check_scatter, flat_positions, gather_elements, scatter_add, sums_in
from chainrule.ops.shape_rules import axis_of, require

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
        """The product of the other factors. Where one is 0, all others have the slope 0; where two are, all have."""
        zero, zeros = eq(x, zeros_like(x)), eq(updates, zeros_like(updates))
        filled, fills = where(zero, ones_like(x), x), where(zeros, ones_like(updates), updates)
        product = scatter_reduce(filled, indices, fills, self.axis, "mul")
        count = scatter_add(cast(zero, x.dtype), indices, cast(zeros, x.dtype), self.axis)

        def slope(is_zero: Value, value: Value, product: Value, count: Value) -> Value:
            alone = logical_and(is_zero, eq(count, scalar_like(1, count)))
            none = eq(count, zeros_like(count))
            return where(none, div(product, value), where(alone, product, zeros_like(product)))

        theirs = gather_elements(product, indices, self.axis), gather_elements(count, indices, self.axis)
        return slope(zero, filled, product, count), slope(zeros, fills, *theirs)


def scatter_reduce(x: Value, indices: Value, updates: Value, axis: int, mode: str) -> Value:
    """x with updates multiplied in ("mul") at indices, or the larger ("max") or smaller ("min") kept."""
    return build(ScatterReduce(axis + x.rank if -x.rank <= axis < 0 else axis, mode), x, indices, updates)


OPS: tuple[type[Op], ...] = (ScatterReduce,)
