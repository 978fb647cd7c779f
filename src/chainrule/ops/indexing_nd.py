"""Ops that read and write slices at index tuples: gather_nd and scatter_nd. Positions obey the rules of indexing.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, i64
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.compare import ge, logical_or, lt
from chainrule.ops.elementwise import add, cast, expect_inputs, mul, where
from chainrule.ops.indexing import from_front, gather, in_range, scatter, scatter_add, sums_in
from chainrule.ops.indexing_reduce import scatter_reduce
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import require, same_dtype
from chainrule.ops.shaping import concat, expand, listed, narrow, reshape

_FUNCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
MODES = ("assign", *_FUNCTIONS)


@dataclass(frozen=True)
class GatherND(Op):
    """The slices x[indices[i.., :]]. x: [n0, .., nk, rest..], indices: [i.., k + 1] -> [i.., rest..].

    Negative indices count from the end. Raises ShapeError when an index tuple is longer than x has axes,
    ArgumentError, when run, for an index out of range. Source: ONNX GatherND-13, batch_dims = 0.
    """

    name: ClassVar[str] = "gather_nd"
    args: ClassVar[tuple[str, ...]] = ("x", "indices")
    gradient: ClassVar[str] = "decompose"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, indices = types
        depth = _depth_of(x, indices)
        return x.with_shape((*indices.shape[:-1], *x.shape[depth:]))

    def ref(self, *arrays: Array) -> Array:
        x, indices = arrays
        parts: list[Array] = [in_range(indices[..., k], x.shape[k], k) for k in range(indices.shape[-1])]
        return np.asarray(x[tuple(parts)]) if parts else np.broadcast_to(x, (*indices.shape[:-1], *x.shape)).copy()

    def decompose(self, *inputs: Value) -> Value:
        x, indices = inputs
        depth = _depth_of(x.tensor, indices.tensor)
        rows = reshape(x, [dim_product(x.shape[:depth]), *x.shape[depth:]])
        return gather(rows, _flat_rows(x.shape[:depth], indices), 0)


@dataclass(frozen=True)
class ScatterND(Op):
    """x with slices put or added at x[indices[i.., :]]. x: [n0, .., nk, rest..], indices: [i.., k + 1] -> x's shape.

    updates: [i.., rest..]. mode "assign" (of repeated positions the last in row-major order counts), "add" (they add
    up in that order), "mul", "max" or "min" (as ScatterReduce has them). Raises ShapeError when they do not fit,
    ArgumentError for another mode and, when run, for an index out of range. Source: ONNX ScatterND-18.
    """

    name: ClassVar[str] = "scatter_nd"
    args: ClassVar[tuple[str, ...]] = ("x", "indices", "updates")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "decompose"
    mode: str = "assign"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        x, indices, updates = types
        if self.mode not in MODES:
            raise ArgumentError(f"{self.mode!r} is not a way to scatter", help="modes: " + ", ".join(MODES))
        if same_dtype(x, updates).is_bool and self.mode != "assign":
            raise DTypeError(f"bool has no {self.mode}", help='mode "assign" takes it; cast to add')
        wanted = (*indices.shape[:-1], *x.shape[_depth_of(x, indices) :])
        if updates.shape != wanted:
            raise ShapeError(f"updates are {listed(updates.shape)}, not {listed(wanted)}",
                             help="updates are [indices but the last axis.., axes of x not indexed..]")  # fmt: skip
        return x

    def ref(self, *arrays: Array) -> Array:
        x, indices, updates = arrays
        depth = indices.shape[-1]
        at: Array = np.zeros(indices.shape[:-1], np.int64)
        for k in range(depth):
            at = at * int(x.shape[k]) + in_range(indices[..., k], int(x.shape[k]), k)
        rest = math.prod(x.shape[depth:])
        held = x.dtype if self.mode == "assign" else sums_in(x.dtype)
        total: Array = x.astype(held).reshape(-1, rest) if x.size else x
        rows = updates.reshape(at.size, rest).astype(total.dtype)
        if rows.size and self.mode == "assign":
            total[at.reshape(-1)] = rows
        elif rows.size:
            with np.errstate(all="ignore"):
                _FUNCTIONS[self.mode].at(total, at.reshape(-1), rows)
        return total.reshape(x.shape).astype(x.dtype)

    def decompose(self, *inputs: Value) -> Value:
        x, indices, updates = inputs
        depth = _depth_of(x.tensor, indices.tensor)
        count, rest = dim_product(indices.shape[:-1]), dim_product(x.shape[depth:])
        at = expand(reshape(_flat_rows(x.shape[:depth], indices), [count, 1]), [count, rest])
        rows = reshape(x, [dim_product(x.shape[:depth]), rest])
        more = reshape(updates, [count, rest])
        match self.mode:
            case "assign":
                found = scatter(rows, at, more, 0)
            case "add":
                found = scatter_add(rows, at, more, 0)
            case mode:
                found = scatter_reduce(rows, at, more, 0, mode)
        return reshape(found, x.shape)


def _depth_of(x: TensorType, indices: TensorType) -> int:
    """The length of the index tuples, which must be a number."""
    require("iu", indices)
    depth = indices.shape[-1] if indices.rank else None
    if not isinstance(depth, int) or depth > x.rank:
        raise ShapeError(f"the index tuples of {indices} do not fit the {x.rank} axes of x",
                         help="the last axis of indices holds one number for each indexed axis of x")  # fmt: skip
    return depth


def _flat_rows(sizes: Sequence[Dim], indices: Value) -> Value:
    """The row-major number of each index tuple; a tuple with a part out of range gets a number out of range."""
    shape = indices.shape[:-1]
    zero = constant(0, i64)
    at = expand(zero, shape)
    wrong: Value | None = None
    for k, size in enumerate(sizes):
        limit = scalar_like(size, zero)
        part = from_front(reshape(narrow(indices, -1, k, 1), shape), limit)
        outside = logical_or(lt(part, zero), ge(part, limit))
        wrong = outside if wrong is None else logical_or(wrong, outside)
        at = add(mul(at, limit), part)
    return at if wrong is None else where(wrong, scalar_like(dim_product(sizes), zero), at)


def gather_nd(x: Value, indices: Value, batch_dims: int = 0) -> Value:
    """Slices of x at index tuples; the first batch_dims axes of both go side by side."""
    if batch_dims:
        if not 0 < batch_dims < indices.rank or indices.shape[:batch_dims] != x.shape[:batch_dims]:
            raise ShapeError(f"gather_nd: {x.tensor} and {indices.tensor} do not share their first {batch_dims} axes",
                             help="the first batch_dims axes of x and indices are equal")  # fmt: skip
        places = (*indices.shape[:-1], 1)
        own = [iota(places, axis, i64) for axis in range(batch_dims)]
        indices = concat([*own, cast(indices, i64)], -1)
    return build(GatherND(), x, indices)


def scatter_nd(x: Value, indices: Value, updates: Value, mode: str = "assign") -> Value:
    """x with slices put ("assign"), added ("add"), multiplied in or compared ("mul", "max", "min") at index tuples."""
    return build(ScatterND(mode), x, indices, updates)


OPS: tuple[type[Op], ...] = (GatherND, ScatterND)
