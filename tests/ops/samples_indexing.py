"""Samples of the ops in ops/indexing.py and ops/indexing_nd.py."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.indexing import Embedding, Gather, IndexAdd, Scatter, ScatterAdd, TakeAlongAxis
from chainrule.ops.indexing_nd import GatherND, ScatterND
from chainrule.ops.indexing_reduce import ScatterReduce
from tests.ops.sample import BadSample, Sample, distinct, integers, normal

rows = np.array([2, 0, 2, -1])
pairs = np.array([[0, 1], [2, -1], [0, 1]])
none = np.zeros((0,), np.int64)
along = np.array([[0, 2, 1], [-1, 0, 0]])  # on axis 0 of a matrix of 3 rows; (0, 1) and (0, 2) come once each
again = np.array([[1, 1, 1], [1, 0, 1]])  # position (1, 0) and others come twice


def half(*shape: int) -> np.ndarray:
    return normal(*shape, dtype="float16")


SAMPLES = [
    Sample(Gather(0), (normal(3, 2), rows), "rows, some twice, one from the end"),
    Sample(Gather(1), (normal(2, 3), np.array([[1, 0], [2, 2]])), "columns by a matrix"),
    Sample(Gather(-1), (normal(2, 3), np.array(1)), "a scalar index takes the axis away"),
    Sample(Gather(0), (normal(3, 2), none), "no index"),
    Sample(Gather(0), (normal(0, 2), none), "no index into nothing"),
    Sample(Gather(0), (integers(0, 9, 4, dtype="int32"), rows.astype("int32")), "i32 by i32"),
    Sample(Gather(0), (integers(0, 2, 3, dtype="bool"), np.array([0, 2], np.uint8)), "bool by u8"),
    Sample(Gather(1), (normal(2, 3).astype(bfloat16), np.array([2, 0])), "bf16"),
    Sample(Gather(1), (np.array([[np.nan, -0.0, np.inf]], np.float32), np.array([1, 0, 2])), "special values", grad=()),
    Sample(IndexAdd((3, 2), 0), (rows, normal(4, 2)), "rows, some twice"),
    Sample(IndexAdd((2, 3), 1), (np.array([[1, 0], [2, 2]]), normal(2, 2, 2)), "columns by a matrix"),
    Sample(IndexAdd((2, 3), -1), (np.array(1), normal(2)), "a scalar index"),
    Sample(IndexAdd((3, 2), 0), (none, normal(0, 2)), "nothing to add"),
    Sample(IndexAdd((2,), 0), (np.zeros((40,), np.int64), normal(40, scale=1e3)), "forty into one"),
    Sample(IndexAdd((2,), 0), (np.array([0] * 40), np.full((40,), 0.1, np.float16)), "f16 sums in f32"),
    Sample(IndexAdd((4,), 0), (rows, integers(100, 127, 4, dtype="int8")), "i8 wraps"),
    Sample(Embedding(0), (normal(3, 2), np.array([[2, 2], [1, -1]])), "the padding row is not looked up"),
    Sample(Embedding(0), (normal(3, 2), np.array([[0, 2], [1, 0]])), "row 0 pads: no gradient on purpose", grad=()),
    Sample(Embedding(-1), (normal(3, 2), np.array([2, -1, 1])), "the last row pads: no gradient on purpose", grad=()),
    Sample(Embedding(0), (normal(3), np.array(1)), "a table of numbers, a scalar index"),
    Sample(Embedding(1), (normal(3, 2, 2), none), "no index"),
    Sample(TakeAlongAxis(0), (normal(3, 3), along), "rows"),
    Sample(TakeAlongAxis(1), (normal(3, 4), np.array([[3], [0], [-2]])), "one of each row"),
    Sample(TakeAlongAxis(-1), (normal(2, 3), np.array([[2, 2, 2, 2, 1]])), "longer on the axis, shorter beside"),
    Sample(TakeAlongAxis(0), (normal(3), none), "no index"),
    Sample(TakeAlongAxis(2), (normal(1, 2, 3), np.zeros((1, 2, 0), np.int64)), "no index on the last of three axes"),
    Sample(TakeAlongAxis(0), (integers(0, 9, 3, dtype="uint8"), np.array([2, 2], np.int32)), "u8 by i32"),
    Sample(ScatterAdd(0), (normal(3, 3), along, normal(2, 3, seed=1)), "rows"),
    Sample(ScatterAdd(0), (normal(2, 3), again, normal(2, 3, seed=1)), "positions twice"),
    Sample(ScatterAdd(-1), (normal(2, 3), np.array([[2, 2, 2, 0]]), normal(1, 4, seed=1)), "longer than x"),
    Sample(ScatterAdd(0), (normal(3), none, normal(0)), "nothing to add"),
    Sample(ScatterAdd(0), (integers(0, 9, 3), np.array([1, 1]), integers(0, 9, 2)), "i64"),
    Sample(ScatterAdd(0), (half(2), np.array([1] * 9), np.full((9,), 1e-3, np.float16)), "f16"),
    Sample(Scatter(0), (normal(3, 3), along, normal(2, 3, seed=1)), "rows"),
    Sample(Scatter(0), (normal(2, 3), again, normal(2, 3, seed=1)), "of repeated positions the last counts"),
    Sample(Scatter(1), (normal(2, 4), np.array([[-1], [0]]), normal(2, 1, seed=1)), "one of each row"),
    Sample(Scatter(0), (normal(3), none, normal(0)), "nothing to put"),
    Sample(Scatter(0), (integers(0, 2, 3, dtype="bool"), np.array([1]), np.array([True])), "bool"),
    *[Sample(ScatterReduce(0, m), (distinct(3, 3), along, distinct(2, 3, seed=1) + 0.1), f"{m}, rows")
      for m in ("mul", "max", "min")],
    *[Sample(ScatterReduce(1, m), (distinct(2, 3), again, distinct(2, 3, seed=1) + 0.1), f"{m}, positions twice")
      for m in ("mul", "max", "min")],
    Sample(ScatterReduce(0, "mul"), (np.float32([0, 2, 0, 3]), np.array([0, 1, 1, 2, 2, -1]),
                                     np.float32([5, 0, 4, 0, 7, 2])), "one zero, two zeros, none"),
    Sample(ScatterReduce(-1, "max"), (normal(2, 3), np.array([[2, 2, 2, 0]]), distinct(1, 4)), "longer than x"),
    Sample(ScatterReduce(0, "max"), (np.float32([1, 1]), np.array([0, 0]), np.float32([1, 1])), "ties share", grad=()),
    Sample(ScatterReduce(0, "min"), (np.float32([np.nan, 1, np.inf]), np.array([0, 1, 2]),
                                     np.float32([1, np.nan, -np.inf])), "NaN is the smallest", grad=()),
    Sample(ScatterReduce(0, "mul"), (normal(3), none, normal(0)), "nothing to multiply"),
    Sample(ScatterReduce(0, "mul"), (integers(1, 9, 3, dtype="int8"), np.array([1] * 5), np.int8([9] * 5)), "i8 wraps"),
    Sample(ScatterReduce(0, "max"), (integers(0, 9, 3, dtype="uint8"), np.array([1, 2]), np.uint8([200, 3])), "u8"),
    Sample(ScatterReduce(0, "mul"), (half(2), np.array([1] * 9), np.full(9, 1.01, np.float16)), "f16"),
    Sample(GatherND(), (normal(3, 4), pairs), "elements, one twice"),
    Sample(GatherND(), (normal(3, 4, 2), pairs.reshape(3, 1, 2)), "slices"),
    Sample(GatherND(), (normal(3, 4), np.array([[2], [-3]])), "rows"),
    Sample(GatherND(), (normal(3, 4), np.array([1, 2])), "one tuple gives a scalar"),
    Sample(GatherND(), (normal(2, 2), np.zeros((3, 0), np.int64)), "empty tuples give all of x"),
    Sample(GatherND(), (normal(3, 4), np.zeros((0, 2), np.int64)), "no tuple"),
    Sample(GatherND(), (integers(0, 9, 3, 4, dtype="int32"), pairs.astype(np.int32)), "i32 by i32"),
    Sample(ScatterND("assign"), (normal(3, 4), pairs, normal(3, seed=1)), "elements, of repeated ones the last counts"),
    Sample(ScatterND("add"), (normal(3, 4), pairs, normal(3, seed=1)), "elements, repeated ones add up"),
    Sample(ScatterND("add"), (normal(3, 4), np.array([[2], [-1], [0]]), normal(3, 4, seed=1)), "rows"),
    Sample(ScatterND("assign"), (normal(3, 2, 2), pairs % 2, normal(3, 2, seed=1)), "slices"),
    Sample(ScatterND("add"), (normal(3, 4), np.zeros((0, 2), np.int64), normal(0)), "nothing to add"),
    Sample(ScatterND("assign"), (integers(0, 9, 3), np.array([[1]]), integers(0, 9, 1)), "i64"),
    *[Sample(ScatterND(m), (distinct(3, 4), pairs, distinct(3, seed=1) + 0.1), f"elements, {m}")
      for m in ("mul", "max", "min")],
]

f32x34, i64x2 = tensor("f32", (3, 4)), tensor("i64", (2,))
BAD = [
    BadSample(Gather(0), (f32x34, tensor("f32", (2,))), DTypeError, "f32 is not among"),
    BadSample(Gather(2), (f32x34, i64x2), ArgumentError, "axis 2 is out of range"),
    BadSample(Gather(0), (tensor("f32", ()), i64x2), ArgumentError, "out of range for 0 axes"),
    BadSample(IndexAdd((3, 4), 0), (i64x2, tensor("f32", (3, 4))), ShapeError, "updates are [3,4], not [2,4]"),
    BadSample(IndexAdd((3,), 0), (i64x2, tensor("bool", (2,))), DTypeError, "bool is not among"),
    BadSample(Embedding(3), (f32x34, i64x2), ArgumentError, "padding_idx 3 is out of range for 3 rows"),
    BadSample(Embedding(0), (tensor("f32", ()), i64x2), ShapeError, "weight is [rows, features]"),
    BadSample(Embedding(0), (f32x34, tensor("bool", (2,))), DTypeError, "bool is not among"),
    BadSample(TakeAlongAxis(0), (f32x34, i64x2), ShapeError, "x has 2 axes, indices 1"),
    BadSample(TakeAlongAxis(0), (f32x34, tensor("i64", (3, 5))), ShapeError, "only axis 0 of indices may be larger"),
    BadSample(TakeAlongAxis(0), (tensor("f32", (3, "N")), tensor("i64", (3, "M"))), ShapeError, "on axis 1"),
    BadSample(ScatterAdd(0), (f32x34, tensor("i64", (2, 4)), tensor("f32", (1, 4))), ShapeError, "differ"),
    BadSample(ScatterAdd(0), (f32x34, tensor("i64", (2, 4)), tensor("f64", (2, 4))), DTypeError, "f32 and f64"),
    BadSample(ScatterAdd(0), (tensor("bool", (3,)), i64x2, tensor("bool", (2,))), DTypeError, "bool cannot be added"),
    BadSample(Scatter(2), (f32x34, tensor("i64", (2, 4)), tensor("f32", (2, 4))), ArgumentError, "axis 2"),
    BadSample(GatherND(), (f32x34, tensor("i64", (2, 3))), ShapeError, "do not fit the 2 axes of x"),
    BadSample(GatherND(), (f32x34, tensor("i64", (2, "N"))), ShapeError, "do not fit the 2 axes of x"),
    BadSample(GatherND(), (f32x34, tensor("i64", ())), ShapeError, "the last axis of indices"),
    BadSample(ScatterND("sub"), (f32x34, tensor("i64", (2, 2)), tensor("f32", (2,))), ArgumentError, "'sub'"),
    BadSample(ScatterReduce(0, "add"), (f32x34, tensor("i64", (2, 4)), tensor("f32", (2, 4))), ArgumentError, "'add'"),
    BadSample(ScatterReduce(0, "max"), (tensor("bool", (3,)), i64x2, tensor("bool", (2,))), DTypeError, "bool"),
    BadSample(ScatterND("add"), (f32x34, tensor("i64", (2, 1)), tensor("f32", (2,))), ShapeError, "not [2,4]"),
]
