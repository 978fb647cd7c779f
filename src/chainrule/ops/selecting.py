"""Ops whose results are as large as the data says: positions of what is not zero, distinct elements.

Such an op names the size of its result in an attribute. In a graph that is a symbol which the graph itself tells (see
Graph.sizes), by a value that is computed here too: `nonzero_count`, `unique_count`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType, bool_, i64
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops.basic import constant, full, scalar_like, zeros_like
from chainrule.ops.compare import eq, logical_or, ne
from chainrule.ops.cumulative import cumsum
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.indexing import gather, scatter
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import concat, narrow, reshape, stack
from chainrule.ops.sorting import argsort


def expect_count(found: int, wanted: object) -> None:
    """Raises ShapeError where the data has another number of elements to give than was said."""
    if found != wanted:
        raise ShapeError(f"the data gives {found} elements, {wanted} were declared")


@dataclass(frozen=True)
class NonZero(Op):
    """The positions of the elements that are not zero, in row-major order. x: [d0, ...] -> i64[rank, count].

    count: how many there are, which is what `nonzero_count` computes. NaN is not zero, -0 is. A scalar gives
    [0, count].
    Raises ShapeError when the reference finds another number. Source: ONNX NonZero-13; numpy.nonzero.
    """

    name: ClassVar[str] = "nonzero"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "zero"
    tells: ClassVar[str] = "count"
    count: Dim

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        return TensorType(i64, (types[0].rank, self.count))

    def ref(self, *arrays: Array) -> Array:
        x = arrays[0]
        places = np.flatnonzero(x)
        expect_count(len(places), self.count)
        found = np.unravel_index(places, x.shape) if x.ndim else ()
        return np.stack(found).astype(np.int64) if x.ndim else np.zeros((0, len(places)), np.int64)

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        if x.rank == 0:
            return full(0, (0, self.count), i64)
        size = x.tensor.size
        flags = reshape(ne(x, zeros_like(x)), (size,))
        # Each found element goes to its place in line, all others behind the end.
        line = el.sub(cumsum(el.cast(flags, i64), 0), constant(1, i64))
        at = el.where(flags, line, scalar_like(self.count, line))
        flat = narrow(scatter(full(0, (self.count + 1,), i64), at, iota((size,)), 0), 0, 0, self.count)
        return stack(_unravelled(flat, x.shape))


def _unravelled(flat: Value, shape: Sequence[Dim]) -> list[Value]:
    """Row-major positions as one position for each axis."""
    found: list[Value] = []
    for size in reversed(shape):
        whole = scalar_like(size, flat)
        rest = el.div(flat, whole)
        found.append(el.sub(flat, el.mul(rest, whole)))
        flat = rest
    return found[::-1]


@dataclass(frozen=True)
class Unique(Op):
    """The distinct elements of x: [n] -> values [count], first positions i64[count], inverse i64[n], counts i64[count].

    values[inverse] is x. sorted: values ascend; else they stand as they first occur. count is what `unique_count`
    computes. Every NaN is distinct, -0 equals 0. Raises ShapeError when x is no vector, or the reference finds another
    number. Source: ONNX Unique-11 without an axis; numpy.unique.
    """

    name: ClassVar[str] = "unique"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "decompose"
    tells: ClassVar[str] = "count"
    count: Dim
    sorted: bool = True

    def infer(self, *types: TensorType) -> TupleType:
        expect_inputs(1, types)
        (x,) = types
        if x.rank != 1:
            raise ShapeError(f"{x} is no vector", help="flatten it first")
        places = TensorType(i64, (self.count,))
        return TupleType((x.with_shape((self.count,)), places, TensorType(i64, x.shape), places))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        wide = arrays[0] if arrays[0].dtype.kind in "fiub" else arrays[0].astype(np.float32)
        values, first, inverse, counts = np.unique(wide, True, True, True, equal_nan=False)
        expect_count(len(values), self.count)
        order = np.arange(len(values)) if self.sorted else np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return (arrays[0][first[order]], first[order].astype(np.int64),
                rank[inverse.reshape(-1)].astype(np.int64), counts[order].astype(np.int64))  # fmt: skip

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        (x,) = inputs
        size = x.shape[0]
        order = argsort(x, 0)
        starts_here = _starts(gather(x, order, 0))
        group = el.sub(cumsum(el.cast(starts_here, i64), 0), constant(1, i64))
        starts = reshape(build(NonZero(self.count), starts_here), (self.count,))
        end = reshape(scalar_like(size, starts), (1,))
        ends = narrow(concat([starts, end], 0), 0, 1, self.count)
        first, counts = gather(order, starts, 0), el.sub(ends, starts)
        inverse = scatter(full(0, (size,), i64), order, group, 0)
        if not self.sorted:
            new = argsort(first, 0)
            first, counts = gather(first, new, 0), gather(counts, new, 0)
            inverse = gather(scatter(full(0, (self.count,), i64), new, iota((self.count,)), 0), inverse, 0)
        return gather(x, first, 0), first, inverse, counts


def _starts(ordered: Value) -> Value:
    """True where a sorted vector has another element than before; its first one is."""
    place = iota(ordered.shape)
    before = gather(ordered, el.maximum(el.sub(place, constant(1, i64)), constant(0, i64)), 0)
    return logical_or(ne(ordered, before), eq(place, constant(0, i64)))


def nonzero_count(x: Value) -> Value:
    """How many elements of x are not zero. -> i64[]."""
    flags = ne(x, zeros_like(x)) if x.dtype != bool_ else x
    return red.sum(el.cast(flags, i64), None)


def unique_count(x: Value) -> Value:
    """How many distinct elements a vector has. -> i64[]."""
    return nonzero_count(_starts(gather(x, argsort(x, 0), 0)))


def nonzero(x: Value, count: Dim) -> Value:
    """The positions of the elements that are not zero. i64[rank, count]."""
    return build(NonZero(count), x)


def unique(x: Value, count: Dim, sorted: bool = True) -> tuple[Value, ...]:
    """Distinct elements, first positions, inverse, counts."""
    return results(build(Unique(count, sorted), x))


def flattened(x: Value) -> Value:
    """x as a vector."""
    return reshape(x, (dim_product(x.shape),))


OPS: tuple[type[Op], ...] = (NonZero, Unique)
